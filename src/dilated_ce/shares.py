"""What a class gives to each voxel of its neighbourhood: its share, from volumes.

Pure functions of small tensors. A class that is absent has the share 0 and takes no part.
"""

from torch import Tensor


def inverse_shares(volumes: Tensor) -> Tensor:
    """1 / v: every class gives as much in all, whatever its size (the paper's balance).

    Args:
        volumes: of the dilated masks, in voxels, >= 0; floats of any shape.

    Examples:
        >>> import torch
        >>> inverse_shares(torch.tensor([8.0, 2.0, 0.0]))
        tensor([0.1250, 0.5000, 0.0000])
    """
    return (1 / volumes).nan_to_num(posinf=0.0)


def root_shares(volumes: Tensor, sizes: Tensor, axes: int) -> Tensor:
    """(V / v)^(1/d): how much longer the image is than the neighbourhood, in d axes (ours).

    That is between plain cross entropy, in which a voxel counts 1, and equal classes, V / v. As a
    ratio of lengths it changes little from one voxel of an object to the next, in 3D as in 2D.

    Args:
        volumes: of the dilated masks of each image, (..., B, C), in voxels, >= 0; floats.
        sizes: the number of valid voxels V of each image, (..., B).
        axes: the number d of axes with more than one voxel.

    Examples:
        >>> import torch
        >>> root_shares(torch.tensor([[16.0, 4.0, 0.0]]), torch.tensor([16.0]), 2)
        tensor([[1., 2., 0.]])
    """
    return ((sizes[..., None] / volumes) ** (1 / max(axes, 1))).nan_to_num(posinf=0.0)
