# Copyright (c) MONAI Consortium
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.nn.modules.loss import _Loss

from monai.utils import LossReduction, ensure_tuple


def dilate_by_ball(mask: torch.Tensor, radius: float, spacing: list[float]) -> torch.Tensor:
    """
    Dilate masks by a Euclidean ball, exactly: a voxel belongs to the result if and only if its distance to the nearest
    voxel of the mask is at most ``radius``.

    The ball is a stack of rows along the last axis. The masks are dilated by rows of growing length, and each of these
    is moved to where the ball has it. The time grows with the radius in 2D, and with its square in 3D.

    Args:
        mask: the shape should be BNH[WD], of bool.
        radius: in the units of ``spacing``.
        spacing: size of a voxel along each spatial axis.

    Returns:
        torch.Tensor: bool, of the shape of ``mask``.

    """
    # 1 to 3 spatial axes are treated alike, as (depth, height, width)
    sides, size = mask.shape[2:], [1.0, 1.0, 1.0]
    shape = [1, 1, 1]
    for axis in range(len(sides)):
        shape[3 - len(sides) + axis] = sides[axis]
        size[3 - len(sides) + axis] = spacing[axis]
    depth, height, width = shape[0], shape[1], shape[2]
    volume = mask.reshape(-1, depth, height, width)
    corner = [(depth - 1) * size[0], (height - 1) * size[1], (width - 1) * size[2]]
    if radius >= math.sqrt(corner[0] ** 2 + corner[1] ** 2 + corner[2] ** 2):
        return volume.flatten(1).any(1)[:, None].expand(-1, volume[0].numel()).reshape(mask.shape)

    # how far the row at each offset (dz, dy) of the ball reaches
    offsets: list[tuple[int, int, int]] = []
    reach = 0
    for dz in range(depth):
        half = width - 1  # never grows as dy does
        for dy in range(height):
            rest = (dz * size[0]) * (dz * size[0]) + (dy * size[1]) * (dy * size[1])
            while half >= 0 and math.sqrt(rest + (half * size[2]) * (half * size[2])) > radius:
                half -= 1
            if half < 0:
                break
            offsets.append((dz, dy, half))
            reach = max(reach, half)

    row, dilated = volume.clone(), torch.zeros_like(volume)
    for half in range(reach + 1):
        row.narrow(3, half, width - half).logical_or_(volume.narrow(3, 0, width - half))
        row.narrow(3, 0, width - half).logical_or_(volume.narrow(3, half, width - half))
        for dz, dy, own in offsets:
            if own != half:
                continue
            # to the mirror images of the offset; what leaves the image is cut off
            for up in range(2 if dz > 0 else 1):
                for left in range(2 if dy > 0 else 1):
                    to = dilated.narrow(1, (1 - up) * dz, depth - dz)
                    to = to.narrow(2, (1 - left) * dy, height - dy)
                    moved = row.narrow(1, up * dz, depth - dz).narrow(2, left * dy, height - dy)
                    to.logical_or_(moved)
    return dilated.reshape(mask.shape)


class DilatedBalancedCELoss(_Loss):
    """
    Cross entropy that is balanced between the classes over their dilated masks, so that every class shares its weight
    with the voxels around it.

    Cross entropy with classes weighted by their inverse frequency finds small objects, but lets them grow over their
    borders: wherever a border is uncertain the rarer class wins. Here a voxel is weighted by where it is and not by
    what it is labelled. With the mask of each class dilated by a ball of ``radius``, and ``v_c`` the number of voxels
    of the dilated masks ``D_c`` in the batch, a voxel has the weight

        w(x) = sum over the classes c with x in D_c of 1 / v_c

    and the loss is ``sum(w * CE) / sum(w)``: the mean over the classes of the cross entropy in the neighbourhood of the
    class. A radius of 0 is cross entropy with inverse class frequencies; an infinite radius is cross entropy, if every
    class is in every image. Within ``radius`` of a border both of its sides weigh the same.

    The idea is that of:

        Hosseini, S. M., Soleymani Baghshah, M. (2024) Dilated Balanced Cross Entropy Loss for Medical Image
        Segmentation. arXiv:2412.06045.

    The formula above is a reading of its abstract, and the exact ball, its physical units and ignored voxels are not
    from the paper.

    Example:
        >>> import torch
        >>> from monai.losses import DilatedBalancedCELoss
        >>> input = torch.rand(2, 3, 16, 16)  # logits, BNHW
        >>> target = torch.randint(0, 3, (2, 1, 16, 16))  # class indices, B1HW
        >>> loss = DilatedBalancedCELoss(radius=4)(input, target)

    """

    def __init__(
        self,
        radius: float,
        spacing: Sequence[float] | float = 1.0,
        weight: Sequence[float] | torch.Tensor | None = None,
        reduction: LossReduction | str = LossReduction.MEAN,
        ignore_index: int | None = None,
    ) -> None:
        """
        Args:
            radius: of the dilation, no less than 0, or ``math.inf``; in voxels, or in the units of ``spacing``. It
                should cover the uncertainty of the borders, and the places where the network errs.
            spacing: size of a voxel along each spatial axis, or one number for all. Defaults to 1.0.
            weight: how much each class counts, on top of the balance; the background is a class and has a weight,
                too. The values should be no less than 0. Defaults to 1 for all classes.
            reduction: {``"none"``, ``"mean"``, ``"sum"``}
                Specifies the reduction to apply to the output. Defaults to ``"mean"``.

                - ``"none"``: no reduction will be applied; the weights have mean 1 over the valid voxels.
                - ``"mean"``: the sum of the output will be divided by the number of valid voxels.
                - ``"sum"``: the output will be summed.

            ignore_index: class index, or other value of the target, of voxels that belong to no mask and do not count.
                Defaults to None.

        Raises:
            ValueError: When ``radius`` or a value of ``weight`` is negative, or a value of ``spacing`` not positive.

        """
        super().__init__(reduction=LossReduction(reduction).value)
        if not radius >= 0:
            raise ValueError(f"radius should be no less than 0, got {radius}.")
        self.radius = float(radius)
        self.spacing = [float(size) for size in ensure_tuple(spacing)]
        if not all(size > 0 for size in self.spacing):
            raise ValueError(f"all values of spacing should be greater than 0, got {spacing}.")
        self.ignore_index = ignore_index
        class_weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        if class_weight is not None and bool((class_weight < 0).any()):
            raise ValueError("the values of `weight` should be no less than 0.")
        self.register_buffer("class_weight", class_weight)
        self.class_weight: torch.Tensor | None

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input: logits, the shape should be BNH[WD], where N is the number of classes and at least 2.
            target: class indices, the shape should be B1H[WD]; or one-hot, BNH[WD].

        Raises:
            ValueError: When ``input`` has less than 2 channels.
            ValueError: When the shapes of ``input`` and ``target`` do not match.
            ValueError: When the number of values of ``spacing`` or ``weight`` does not match ``input``.

        """
        num_classes, dims = input.shape[1], input.dim() - 2
        if num_classes < 2:
            raise ValueError("input should have a channel for each class, background included.")
        if input.shape[2:] != target.shape[2:] or input.shape[0] != target.shape[0]:
            raise ValueError(f"input has shape {input.shape} and target {target.shape}.")
        if target.shape[1] != 1 and target.shape[1] != num_classes:
            raise ValueError(
                "number of channels for target is neither 1 (without one-hot encoding) nor the same as input, "
                f"got shape {input.shape} and {target.shape}."
            )
        spacing = self.spacing if len(self.spacing) > 1 else self.spacing * dims
        if len(spacing) != dims:
            raise ValueError(f"spacing has {len(spacing)} values for {dims} spatial axes.")
        class_weight = self.class_weight
        if class_weight is not None:
            if class_weight.numel() != num_classes:
                raise ValueError(f"weight has {class_weight.numel()} values for {num_classes} classes.")

        if input.dtype != torch.float64:
            input = input.float()  # half precision does not hold volumes
        labels = target[:, 0].long() if target.shape[1] == 1 else target.argmax(1)
        valid = torch.ones_like(labels, dtype=torch.bool)
        if self.ignore_index is not None:
            valid = labels != self.ignore_index

        # the weights follow from the labels alone
        classes = torch.arange(num_classes, device=labels.device).view([1, -1] + [1] * dims)
        masks = (labels[:, None] == classes) & valid[:, None]
        dilated = dilate_by_ball(masks, self.radius, spacing) & valid[:, None]
        counts = dilated.flatten(2).sum(2)  # (B, N)
        volumes = counts.sum(0).to(input.dtype)
        share = torch.where(volumes > 0, 1 / volumes, torch.zeros_like(volumes))
        if class_weight is not None:
            share = share * class_weight.to(share)
        weights = torch.zeros_like(labels, dtype=input.dtype)
        for c in range(num_classes):
            weights += dilated[:, c] * share[c]
        total, num_valid = (counts.to(input.dtype) * share).sum(), valid.sum().to(input.dtype)
        scale = torch.where(total > 0, num_valid / total, torch.zeros_like(total))

        # voxels with the index -100 have a cross entropy of 0, and no gradient
        ce = F.cross_entropy(input, torch.where(valid, labels, -100), reduction="none")
        if self.reduction == LossReduction.NONE.value:
            return (ce * weights * scale)[:, None]
        loss = (ce * weights).sum() * scale
        if self.reduction == LossReduction.MEAN.value:
            loss = loss / num_valid.clamp(min=1)
        return loss
