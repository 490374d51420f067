"""The weight map as a transform of MONAI, for the workers of a data loader."""

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_tensor
from torch import Tensor

from dilated_ce.options import Radius, Volumes, Weight, as_spacing, check_choice, check_num_classes
from dilated_ce.target import as_target, on_host
from dilated_ce.weighting import Weighting


class _Weights(Transform):
    """The weight map of one label image: what both transforms do."""

    def __init__(
        self,
        num_classes: int,
        mode: str,
        spacing: Sequence[float] | str | None,
        **options: Any,
    ) -> None:
        check_num_classes(num_classes)
        check_choice("mode", mode, ("multiclass", "multilabel"))
        if mode == "multiclass" and num_classes == 1:
            raise ValueError(
                "num_classes: got 1 with mode='multiclass', expected at least 2: the background is "
                "a class of its own. For one mask use mode='multilabel'."
            )
        if isinstance(spacing, str):
            check_choice("spacing", spacing, ("meta",))
        elif spacing is not None:
            spacing = as_spacing(spacing)
        self.mode, self.num_classes, self.spacing = mode, num_classes, spacing
        weighting = Weighting.checked(num_classes, 1, by_channel=mode == "multilabel", **options)
        self.weighting = deepcopy(weighting)  # as the caller may go on counting in the numbers

    def __call__(self, label: Tensor | np.ndarray) -> Tensor:
        """The map of `label` (1, *spatial) or (C, *spatial).

        Returns:
            float32 (1, *spatial), in mode="multilabel" (C, *spatial); 0 at ignored voxels. A
            `MetaTensor` with the affine matrix of the label, if that is one.
        """
        target = convert_to_tensor(label, track_meta=False)[None]
        single = self.mode == "multiclass"
        channels = (1, self.num_classes) if single else (self.num_classes,)
        if not 3 <= target.ndim <= 5 or target.shape[1] not in channels:
            raise ValueError(
                f"label: got shape {tuple(target.shape[1:])}, expected "
                + ("(1, *spatial) with class indices or " if single else "")
                + f"({self.num_classes}, *spatial) with a channel per class, 1 to 3 spatial axes. "
                "Use EnsureChannelFirstd before this transform."
            )
        if single and target.shape[1] != self.num_classes:
            target = as_indices(target)
        shape = (1, self.num_classes, *target.shape[2:])
        # Only the shape of these logits is read.
        logits = torch.zeros((), device=target.device).expand(shape)
        found = as_target(self.mode, logits, target, self.weighting.ignore_index)
        spacing = as_spacing(self._spacing(label), target.ndim - 2)
        weighting = replace(self.weighting, spacing=spacing, ignore_index=found.ignore_index)
        weighed = weighting.weigh("label", found.labels)
        if weighting.num_voxels is None:
            # Not scaled to mean 1: all images get the same factor, so that those with fewer classes
            # keep their smaller part in the mean over the batch, as they have it in the loss.
            weights = weighed.values * self._factor(weighting, target)
        else:  # to mean 1 over the data set
            weights = weighed.scaled()
        weights = weights if single else weights[0]
        return (
            MetaTensor(weights, affine=label.affine) if isinstance(label, MetaTensor) else weights
        )

    def _factor(self, weighting: Weighting, target: Tensor) -> float | Tensor:
        """What brings the map to a size of about 1."""
        if weighting.radii is None:
            return 1.0
        parts = 2 if self.mode == "multilabel" else self.num_classes
        if isinstance(weighting.volumes, str):
            return target[0, 0].numel() / parts
        return weighting.volumes.max() / parts

    def _spacing(self, label: Tensor | np.ndarray) -> Sequence[float] | None:
        if not isinstance(self.spacing, str):
            return self.spacing
        if not isinstance(label, MetaTensor):
            raise TypeError(
                f"label: got {type(label).__name__}, expected a MetaTensor, as LoadImaged gives: "
                "with spacing='meta' its affine matrix says how large a voxel is."
            )
        return [float(size) for size in affine_to_spacing(label.affine, r=label.ndim - 1)]


class DilatedBalancedWeights(_Weights):
    """The weight map of one label image under a radius (the paper's idea), for a loss.

    The classes are balanced over this image (the patch, if it has been cropped), or over the data
    set with `volumes`. Give the map to the loss as `weight_map`. For any batch the result is that
    of the loss with volumes="image", or with the same `volumes` and `num_voxels`.

    Args:
        radius: of the ball that the masks are dilated by; one number, or a list with one per class.
        num_classes: number of classes C, background included (in mode="multilabel": channels).
        mode: "multiclass": labels (1, *spatial) are class indices, labels (C, *spatial) one-hot.
            "multilabel": each channel is a mask of its own.
        spacing: "meta" takes the size of the voxels from the affine matrix of the `MetaTensor`, so
            that `radius` is in mm (for NIfTI and DICOM); or one number per spatial axis; None
            for a radius in voxels. MONAI's transforms keep the matrix up to date; `permute` and
            `transpose` of a tensor do not: it is then that of the old order of the axes. Use
            MONAI's Transposed or Orientationd instead.
        volumes: "image", or the volumes (C,) of the whole data set.
        num_voxels: of that data set, as in `dilated_ce.dilated_balanced_weights`. Give it to the
            loss as well, which scales the map to mean 1 over the batch otherwise.
        ignore_index: label of the voxels that take no part; None when every voxel has a class.
        weight: how much each class counts, as there.

    Raises:
        TypeError, ValueError: as there, and for labels with another number of channels.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import DilatedBalancedWeights
        >>> label = torch.zeros(1, 6, 6)
        >>> label[0, 2:4, 2:4] = 1
        >>> DilatedBalancedWeights(radius=1, num_classes=2)(label).shape
        torch.Size([1, 6, 6])
    """

    def __init__(
        self,
        radius: Radius,
        *,
        num_classes: int,
        mode: str = "multiclass",
        spacing: Sequence[float] | str | None = None,
        volumes: Volumes = "image",
        num_voxels: float | None = None,
        ignore_index: int | None = -100,
        weight: Weight | None = None,
    ) -> None:
        if isinstance(volumes, str):  # a transform sees one image of the batch
            check_choice("volumes", volumes, ("image",))
        super().__init__(
            num_classes,
            mode,
            spacing,
            radius=radius,
            volumes=volumes,
            num_voxels=num_voxels,
            ignore_index=ignore_index,
            weight=weight,
        )


class AdaptiveDilatedWeights(_Weights):
    """The adaptive weight map of one label image (ours), for a loss that takes it.

    Give the map to the loss as `weight_map`. The result is that of `AdaptiveDilatedCELoss`.

    Args:
        num_classes: number of classes C, background included (in mode="multilabel": channels).
        mode: as in `DilatedBalancedWeights`.
        spacing: "meta", one number per spatial axis, or None, as there.
        ignore_index: label of the voxels that take no part; None when every voxel has a class.
        weight: how much each class counts, as in `dilated_ce.adaptive_dilated_weights`.

    Raises:
        TypeError, ValueError: as there, and for labels with another number of channels.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import AdaptiveDilatedWeights
        >>> AdaptiveDilatedWeights(num_classes=2)(torch.zeros(1, 6, 6)).shape
        torch.Size([1, 6, 6])
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mode: str = "multiclass",
        spacing: Sequence[float] | str | None = None,
        ignore_index: int | None = -100,
        weight: Weight | None = None,
    ) -> None:
        super().__init__(num_classes, mode, spacing, ignore_index=ignore_index, weight=weight)


class _Weightsd(MapTransform):
    """Adds a weight map for each label of a dictionary."""

    def __init__(
        self, keys: KeysCollection, weigh: _Weights, postfix: str, allow_missing_keys: bool
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.postfix = postfix
        self.weigh = weigh

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of `data` with the maps."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[f"{key}_{self.postfix}"] = self.weigh(result[key])
        return result


class DilatedBalancedWeightsd(_Weightsd):
    """Dictionary version of `DilatedBalancedWeights`: adds a weight map for each label.

    Put it behind all spatial transforms, so that the map is that of the patch which the network
    sees, and runs in the workers of the data loader.

    Args:
        keys: of the labels.
        radius, num_classes, mode, spacing, volumes, num_voxels, ignore_index, weight: as in
            `DilatedBalancedWeights`.
        postfix: the map of "label" gets the key "label_weights".
        allow_missing_keys: leave out keys that are missing instead of raising.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import DilatedBalancedWeightsd
        >>> transform = DilatedBalancedWeightsd("label", 4, num_classes=2)
        >>> sorted(transform({"label": torch.zeros(1, 6, 6)}))
        ['label', 'label_weights']
    """

    def __init__(
        self,
        keys: KeysCollection,
        radius: Radius,
        *,
        num_classes: int,
        mode: str = "multiclass",
        spacing: Sequence[float] | str | None = None,
        volumes: Volumes = "image",
        num_voxels: float | None = None,
        ignore_index: int | None = -100,
        weight: Weight | None = None,
        postfix: str = "weights",
        allow_missing_keys: bool = False,
    ) -> None:
        weigh = DilatedBalancedWeights(
            radius,
            num_classes=num_classes,
            mode=mode,
            spacing=spacing,
            volumes=volumes,
            num_voxels=num_voxels,
            ignore_index=ignore_index,
            weight=weight,
        )
        super().__init__(keys, weigh, postfix, allow_missing_keys)


class AdaptiveDilatedWeightsd(_Weightsd):
    """Dictionary version of `AdaptiveDilatedWeights`: adds a weight map for each label.

    Args:
        keys: of the labels.
        num_classes, mode, spacing, ignore_index, weight: as in `AdaptiveDilatedWeights`.
        postfix: the map of "label" gets the key "label_weights".
        allow_missing_keys: leave out keys that are missing instead of raising.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import AdaptiveDilatedWeightsd
        >>> transform = AdaptiveDilatedWeightsd("label", num_classes=2)
        >>> sorted(transform({"label": torch.zeros(1, 6, 6)}))
        ['label', 'label_weights']
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        num_classes: int,
        mode: str = "multiclass",
        spacing: Sequence[float] | str | None = None,
        ignore_index: int | None = -100,
        weight: Weight | None = None,
        postfix: str = "weights",
        allow_missing_keys: bool = False,
    ) -> None:
        weigh = AdaptiveDilatedWeights(
            num_classes=num_classes,
            mode=mode,
            spacing=spacing,
            ignore_index=ignore_index,
            weight=weight,
        )
        super().__init__(keys, weigh, postfix, allow_missing_keys)


DilatedBalancedWeightsD = DilatedBalancedWeightsDict = DilatedBalancedWeightsd
AdaptiveDilatedWeightsD = AdaptiveDilatedWeightsDict = AdaptiveDilatedWeightsd


def as_indices(target: Tensor) -> Tensor:
    """Class indices as integers; transforms and DeepSupervisionLoss make floats of them."""
    if not target.is_floating_point():
        return target
    indices = target.long()
    if on_host(target):
        fractions = target[indices != target]
        if fractions.numel() > 0:
            raise ValueError(
                f"target: got {fractions[0].item():g}, expected whole numbers in a target with one "
                "channel. Interpolate labels with mode='nearest'."
            )
    return indices
