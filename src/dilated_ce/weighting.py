"""From labels to the weight of every voxel: what a loss is told about weights, and the map.

    target -> masks -> radii -> dilated masks -> shares -> weight map

One record holds the options, and one method of it makes the map. This is the only place that scales
a map to mean 1, and the only one in which processes add up what they have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from dilated_ce.dilation import dilate_masks
from dilated_ce.masks import long_axes, look_up
from dilated_ce.options import (
    ProcessGroup,
    Radius,
    Volumes,
    Weight,
    as_num_voxels,
    as_process_group,
    as_radii,
    as_spacing,
    as_volumes,
    as_weight,
    check_ignore_index,
)
from dilated_ce.shares import inverse_shares, root_shares
from dilated_ce.target import on_host, valid_voxels


class WeightMap(NamedTuple):
    """The weights of voxels, up to a scale."""

    values: Tensor  # (B, *spatial), of masks of their own (B, C, *spatial); 0 where ignored
    # A scalar, or (C, 1, ...), or None for 1: it gives mean 1 over the batch (`num_voxels`: over
    # the data set).
    scale: Tensor | None
    num_valid: Tensor  # voxels of the batch that count, over the number of processes: a scalar
    valid: Tensor | None  # which they are here; None where Python knows that all are

    def scaled(self) -> Tensor:
        """The map itself."""
        return self.values if self.scale is None else self.values * self.scale

    @staticmethod
    def of(
        values: Tensor,
        valid: Tensor | None,
        sizes: Tensor,
        process_group: dist.ProcessGroup | None,
        total: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> "WeightMap":
        """Find the scale of a map, and what else the mean of a loss needs.

        Either nothing is given, for a map that has mean 1 already; or `total`, and the scale gives
        it mean 1 over the batch of all processes; or `scale`, where the data set tells it.

        Args:
            values: the map, 0 where ignored.
            valid: where nothing is ignored, bool, of the same shape; None where nothing is at all.
            sizes: the number of valid voxels, (1,), or of each channel, (C,).
            process_group: that holds the other parts of the batch.
            total: the sum of the map, or of each channel.
            scale: the scale; both of the shape of `sizes`.
        """
        counts = sizes.to(values.dtype)
        sums = counts[None] if total is None else torch.stack([counts, total])
        if process_group is not None:
            dist.all_reduce(sums, group=process_group)
        num_valid = sums[0].sum()
        if process_group is not None:
            num_valid = num_valid / dist.get_world_size(process_group)
        if total is not None:  # 0 where nothing is valid, or nothing weighs anything
            scale = (sums[0] / sums[1]).nan_to_num(0.0, 0.0)
        if scale is not None:  # of channels (C,): one for each of (B, C, *spatial)
            scale = scale.view(() if len(sizes) == 1 else (-1, *[1] * (values.ndim - 2)))
        return WeightMap(values, scale, num_valid, valid)


@dataclass(frozen=True)
class Weighting:
    """How voxels are weighed: checked options."""

    num_classes: int  # of a voxel; of masks of their own the number of these
    by_channel: bool  # whether they are masks of their own, each with a background
    radii: tuple[float, ...] | None  # of each class or mask; None: found from the labels (ours)
    spacing: tuple[float, ...]
    volumes: str | Tensor  # "batch", "image", or numbers (C,) or (C, 2); of given radii
    weight: Tensor | None  # of the same shapes
    num_voxels: float | None
    ignore_index: int | None
    process_group: dist.ProcessGroup | None

    @staticmethod
    def checked(
        num_classes: int,
        ndim: int,
        *,
        by_channel: bool = False,
        radius: Radius | None = None,
        spacing: Sequence[float] | None = None,
        volumes: Volumes = "batch",
        weight: Weight | None = None,
        num_voxels: float | None = None,
        ignore_index: int | None = None,
        process_group: ProcessGroup = None,
    ) -> "Weighting":
        """Check the options that users give, for so many classes and spatial axes.

        Raises:
            TypeError, ValueError: an option that is wrong, or wrong for these.
        """
        check_ignore_index(ignore_index)
        shape = (num_classes, 2) if by_channel else (num_classes,)
        scope = as_volumes(volumes, shape)
        return Weighting(
            num_classes,
            by_channel,
            None if radius is None else as_radii(radius, num_classes),
            as_spacing(spacing, ndim),
            scope,
            as_weight(weight, shape),
            as_num_voxels(num_voxels, scope),
            None if ignore_index is None else int(ignore_index),
            as_process_group(process_group),
        )

    def weigh(self, name: str, labels: Tensor, dtype: torch.dtype = torch.float32) -> WeightMap:
        """Weigh the voxels.

        Args:
            name: of the labels, for messages.
            labels: class indices (B, *spatial), or 0 and 1 (B, C, *spatial) for masks of their own.
            dtype: of the weights.
        """
        # Masks of their own are images of two classes, channel after channel.
        channels, batch = self.num_classes if self.by_channel else 1, labels.shape[0]
        classes = 2 if self.by_channel else self.num_classes
        images = labels.movedim(1, 0).flatten(0, 1) if self.by_channel else labels
        radii = self.radii
        if radii is not None and self.by_channel:
            radii = tuple(radius for radius in radii for _ in range(classes))
        planes, volumes, sizes = dilate_masks(
            name, images, classes, radii, self.spacing, self.ignore_index
        )
        counts = sizes.to(dtype)  # and not in the default dtype, which may be a half
        volumes, sizes = volumes.view(channels, batch, classes), sizes.view(channels, batch)
        axes = long_axes(images.shape[1:])
        shares, scale = self._shares(volumes, counts.view(channels, batch), axes)
        if channels > 1:
            shares = shares.expand(-1, batch, -1)
        table = shares.reshape(-1, classes)  # a row for each image, or one for all of them

        values = look_up(planes, table, images.shape[0], images.shape[1:], radii is None)
        all_valid = on_host(sizes) and int(sizes.sum()) == labels.numel()
        valid = None if all_valid else valid_voxels(images, self.ignore_index)
        total = None
        if radii is None:
            _half_plain(values, counts, valid, self.weight is None)
        elif scale is None:  # a sum over masks adds up to a sum over volumes
            total = (volumes.to(dtype) * shares).view(channels, -1).sum(1)
        if self.by_channel:
            shape = (channels, batch, *labels.shape[2:])
            values = values.view(shape).movedim(0, 1)
            valid = None if valid is None else valid.view(shape).movedim(0, 1)
        return WeightMap.of(values, valid, sizes.sum(1), self.process_group, total, scale)

    def _shares(self, volumes: Tensor, counts: Tensor, axes: int) -> tuple[Tensor, Tensor | None]:
        """What each mask gives to the voxels of its neighbourhood.

        Args:
            volumes: of the dilated masks, int64 (channels, B, classes); of one channel if classes
                share the voxels.
            counts: of valid voxels, (channels, B), in the dtype of the shares.
            axes: of an image that have more than one voxel.

        Returns:
            The shares (channels, B, classes), or (channels, 1, classes) for all images; and the
            scale (channels,) of the map where the data set tells it.
        """
        dtype, channels = counts.dtype, len(counts)
        weight = None
        if self.weight is not None:
            weight = self.weight.to(counts.device, dtype).view(channels, 1, -1)
        scale = None
        if self.radii is None:
            shares = root_shares(volumes.to(dtype), counts, axes)
        elif isinstance(self.volumes, Tensor):
            given = self.volumes.to(counts.device, dtype).view(channels, 1, -1)
            shares = inverse_shares(given)
            if self.num_voxels is not None:
                # Over the data set a class gives 1 / v to v voxels: its weight in all.
                there = (given > 0).to(dtype) if weight is None else (given > 0) * weight
                scale = (self.num_voxels / there.sum((1, 2))).nan_to_num(0.0, 0.0)
        elif self.volumes == "image":
            shares = inverse_shares(volumes.to(dtype))
        else:
            of_batch = volumes.sum(1, keepdim=True)
            if self.process_group is not None:
                dist.all_reduce(of_batch, group=self.process_group)
            shares = inverse_shares(of_batch.to(dtype))
        return shares if weight is None else shares * weight, scale


def _half_plain(values: Tensor, counts: Tensor, valid: Tensor | None, positive: bool) -> None:
    """Make 1/2 + 1/2 a / mean(a) of a in each image, 1 where a is 0 all over it, 0 where ignored.

    Args:
        values: a, 0 where ignored, (B, *spatial); overwritten.
        counts: of valid voxels, (B,).
        valid: which they are, bool; None if all are.
        positive: whether a is more than 0 at all valid voxels.
    """
    sums = values.flatten(1).sum(1)
    shape = (-1, *[1] * (values.ndim - 1))
    values.mul_((counts / (2 * sums)).nan_to_num(0.0, 0.0).view(shape))
    if positive:
        values.add_(0.5) if valid is None else values.add_(valid, alpha=0.5)
        return
    plain = torch.rsub(sums.sign(), 1, alpha=0.5).view(shape)
    values.add_(plain if valid is None else plain * valid)
