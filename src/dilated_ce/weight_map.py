"""The two weight maps as functions of labels, to look at or to use in a loss of one's own."""

from collections.abc import Sequence

from torch import Tensor

from dilated_ce.options import ProcessGroup, Radius, Volumes, Weight, as_radius, check_num_classes
from dilated_ce.target import as_labels
from dilated_ce.weighting import Weighting


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
