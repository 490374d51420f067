"""What a class gives to each voxel of its neighbourhood: its share, from volumes.

Pure functions of small tensors. A class that is absent has the share 0 and takes no part.
"""

import torch
from torch import Tensor


def inverse_shares(volumes: Tensor) -> Tensor:
    """1 / v: every class gives as much in all, whatever its size (the paper's balance).

    Args:
        volumes: of the dilated masks, in voxels, >= 0; floats of any shape.

    Examples:
        >>> inverse_shares(torch.tensor([8.0, 2.0, 0.0]))
        tensor([0.1250, 0.5000, 0.0000])
    """
    return torch.where(volumes > 0, 1 / volumes, 0)


def root_shares(volumes: Tensor, sizes: Tensor) -> Tensor:
    """sqrt(V / v): half way between equal classes and plain cross entropy (ours).

    In an image of V voxels a neighbourhood of v voxels gives sqrt(V v) in all: more than by its
    size, V v / V, and less than as much as all others, V.

    Args:
        volumes: of the dilated masks of each image, (B, C), in voxels, >= 0; floats.
        sizes: the number of valid voxels V of each image, (B,).

    Examples:
        >>> root_shares(torch.tensor([[16.0, 4.0, 0.0]]), torch.tensor([16.0]))
        tensor([[1., 2., 0.]])
    """
    return torch.where(volumes > 0, (sizes[:, None] / volumes).sqrt(), 0)
