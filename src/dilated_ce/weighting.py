"""From labels to the weight of every voxel: what a loss is told about weights, and the map.

    target -> masks -> radii -> dilated masks -> shares -> weight map

One record holds the options, and one method of it makes the map. This is the only place that scales
a map to mean 1, and the only one in which processes add up what they have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    as_radius,
    as_spacing,
    as_volumes,
    as_weight,
    check_ignore_index,
    check_num_classes,
)
from dilated_ce.shares import inverse_shares, root_shares
from dilated_ce.target import as_labels, on_host, valid_voxels


def dilated_balanced_weights(
    labels: Tensor,
    radius: Radius,
    *,
    num_classes: int,
    spacing: Sequence[float] | None = None,
    volumes: Volumes = "batch",
    ignore_index: int | None = -100,
    weight: Weight | None = None,
    num_voxels: float | None = None,
    process_group: ProcessGroup = None,
) -> Tensor:
    """The weight of every voxel by the inverse volumes of the dilated class masks that hold it.

    With D_c the mask of class c dilated by the ball of `radius` (see `dilate_labels`) and
    v_c its number of voxels,

        w(x) = sum over { c : x in D_c } of 1 / v_c

    scaled to mean 1 over the valid voxels. With radius 0 and batch volumes this is the weight of
    balanced cross entropy; with an infinite radius and every class in every image it is 1
    everywhere (for volumes="image": when every image has as many valid voxels).

    The paper (arXiv:2412.06045) bases the weight of a class on its dilated mask and gives it to
    the class together with the pixels around it. The formula, what overlapping masks do, and the
    scopes of the volumes are our reading of its abstract.

    Args:
        labels: class indices (B, *spatial), any integer dtype, 1 to 3 spatial axes.
        radius: >= 0, `math.inf`, or a list with one such number per class; in the units of
            `spacing`.
        num_classes: number of classes C, background included.
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        volumes: v_c is counted over the "batch", or over each "image"; or the volumes (C,) of the
            whole data set, as in `dilated_balanced_cross_entropy`.
        ignore_index: label of the voxels that belong to no mask, are not counted and get weight 0;
            None when every voxel has a class.
        weight: how much each class counts, (C,); 1 for all when None. The shares become
            weight_c / v_c.
        num_voxels: number of valid voxels of the data set on which `volumes` were counted, as in
            `dilated_balanced_cross_entropy`. The map is then scaled to mean 1 over that data set,
            not over the batch.
        process_group: the processes that hold the other parts of the batch: "world" for all of
            them, or a group of `torch.distributed`. Volumes and mean are then those of the whole
            batch. Every process of the group has to make the call. None: this process alone.

    Returns:
        float32 tensor (B, *spatial), mean 1 over the valid voxels (of the whole group; with
        `num_voxels` of the data set), 0 at ignored ones. It carries no gradient, and nothing waits
        for the device.

    Raises:
        TypeError: labels that are not integers, or another argument of the wrong type.
        ValueError: a label outside 0 ... C - 1 (on CUDA a device-side assertion), a number out of
            its range, an unknown word for `volumes`, shapes and lengths that do not match, or a
            group that this process is not in.

    Examples:
        Two classes, 6 and 1 voxels. Dilated by one voxel they have 7 and 3:

        >>> import torch
        >>> from dilated_ce import dilated_balanced_weights
        >>> labels = torch.tensor([[0, 0, 0, 0, 1, 0, 0]])
        >>> weights = dilated_balanced_weights(labels, 1, num_classes=2)
        >>> weights  # 7/2 * 1/7 outside the dilated mask of class 1, 7/2 * (1/7 + 1/3) in it
        tensor([[0.5000, 0.5000, 0.5000, 1.6667, 1.6667, 1.6667, 0.5000]])
        >>> f"{weights.mean():.4f}"
        '1.0000'
    """
    check_num_classes(num_classes)
    labels = as_labels("labels", labels)
    weighting = Weighting.checked(
        num_classes,
        labels.ndim - 1,
        radius=as_radius(radius),
        spacing=spacing,
        volumes=volumes,
        ignore_index=ignore_index,
        weight=weight,
        num_voxels=num_voxels,
        process_group=process_group,
    )
    return weighting.weigh("labels", labels).scaled()


def adaptive_dilated_weights(
    labels: Tensor,
    *,
    num_classes: int,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = -100,
    weight: Weight | None = None,
    process_group: ProcessGroup = None,
) -> Tensor:
    """The weight of every voxel, half of it plain, half by the smallest dilated mask (ours).

    Each class of each image is dilated about as far as its objects are thick. With v_c the
    volume of the dilated mask D_c, and V the number of valid voxels of the image,

        a(x) = the largest, over { c : x in D_c }, of (V / v_c)^(1/d)
        w(x) = 1/2 + 1/2 a(x) / (mean of a over the image)

    with d axes of more than one voxel. So half of the weight of every image is that of plain cross
    entropy, and nothing is cheaper than half of that. No class is special, the background neither.
    The radius of class c is d |M_c| / |dM_c| (|dM_c|:
    area of the faces between voxels of the class and of others), kept between 2 and 8 voxels of
    the finest axis and rounded to 2 times a power of sqrt 2. The rule is ours, not the paper's.

    Args:
        labels: class indices (B, *spatial), any integer dtype, 1 to 3 spatial axes.
        num_classes: number of classes C, background included.
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        ignore_index: label of the voxels that belong to no mask, are not counted and get weight 0;
            None when every voxel has a class.
        weight: how much each class counts, (C,); 1 for all when None. The shares become
            weight_c (V / v_c)^(1/d), in the half that is not plain.
        process_group: the processes that hold the other parts of the batch. The weights are those
            of one process, as those of an image depend on that image alone.

    Returns:
        float32 tensor (B, *spatial), mean 1 over the valid voxels (of the whole group), 0 at
        ignored ones. It carries no gradient, and nothing waits for the device.

    Raises:
        TypeError, ValueError: as `dilated_balanced_weights`.

    Examples:
        A voxel of class 1 among 15 others. Both classes are dilated by 2 voxels, to 5 and to 16.
        So a is 16 / 5 at 5 voxels and 16 / 16 at 11, 27 / 16 on average:

        >>> import torch
        >>> from dilated_ce import adaptive_dilated_weights
        >>> labels = torch.zeros(1, 16, dtype=torch.long)
        >>> labels[0, 8] = 1
        >>> weights = adaptive_dilated_weights(labels, num_classes=2)
        >>> [f"{weight:.4f}" for weight in weights[0, [8, 0]]]  # 1/2 + 8/5 / (27/16), 1/2 + ...
        ['1.4481', '0.7963']
    """
    check_num_classes(num_classes)
    labels = as_labels("labels", labels)
    weighting = Weighting.checked(
        num_classes,
        labels.ndim - 1,
        spacing=spacing,
        ignore_index=ignore_index,
        weight=weight,
        process_group=process_group,
    )
    return weighting.weigh("labels", labels).scaled()


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

        A map has mean 1 already, unless its sum is given, or its scale.

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
        if total is not None:
            scale = (sums[0] / sums[1]).nan_to_num(0.0, 0.0)
        if scale is not None:
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

    def ignoring(self, ignore_index: int | None) -> "Weighting":
        """The same, for labels in which another number stands for ignored voxels."""
        return replace(self, ignore_index=ignore_index)

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
