"""The weight map as a transform of MONAI, for the workers of a data loader."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_tensor
from torch import Tensor

from dilated_ce._targets import as_target
from dilated_ce._validation import (
    AUTO,
    Radius,
    as_radii,
    as_spacing,
    check_choice,
    check_num_classes,
)
from dilated_ce.weights import as_weighting, weigh_channels, weigh_voxels


class DilatedBalancedWeights(Transform):
    """The weight map of one label image, for a loss that takes it.

    The classes are balanced over this image (the patch, if it has been cropped), or over the data
    set with `volumes`. Give the map to the loss as `weight_map`. The result is that of the loss
    with balance="image", or with the same `volumes`, if all images of a batch have the same size.

    Args:
        radius: of the ball that the masks are dilated by; one number, one per class, or "auto",
            which finds one for each class from the labels.
        num_classes: number of classes C, background included (in mode="multilabel": channels).
        mode: "multiclass": labels (1, *spatial) are class indices, labels (C, *spatial) one-hot.
            "multilabel": each channel is a mask of its own.
        spacing: "meta" takes the size of the voxels from the affine matrix of the `MetaTensor`, so
            that `radius` is in mm (for NIfTI and DICOM); or one number per spatial axis; None
            for a radius in voxels.
        overlap, volumes, num_voxels, ignore_index, weight: as in
            `dilated_ce.dilated_balanced_weights`.

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
        radius: Radius = AUTO,
        *,
        num_classes: int,
        mode: str = "multiclass",
        spacing: Sequence[float] | str | None = None,
        overlap: str = "sum",
        volumes: Tensor | Sequence[float] | None = None,
        num_voxels: float | None = None,
        ignore_index: int | None = -100,
        weight: Tensor | Sequence[float] | float | None = None,
    ) -> None:
        check_num_classes(num_classes)
        check_choice("mode", mode, ("multiclass", "multilabel"))
        if isinstance(spacing, str):
            check_choice("spacing", spacing, ("meta",))
        elif spacing is not None:
            spacing = as_spacing(spacing)
        self.mode = mode
        self.num_classes = num_classes
        self.radii = as_radii(radius, num_classes)
        self.spacing = spacing
        self.ignore_index = ignore_index
        self.options = as_weighting(
            num_classes,
            overlap=overlap,
            balance="batch" if volumes is not None else "image",
            volumes=volumes,
            num_voxels=num_voxels,
            weight=weight,
            ignore_index=ignore_index,
            by_channel=mode == "multilabel",
        )

    def __call__(self, label: Tensor | np.ndarray) -> Tensor:
        """The map of `label` (1, *spatial) or (C, *spatial).

        Returns:
            float32 (1, *spatial), in mode="multilabel" (C, *spatial); 0 at ignored voxels. A
            `MetaTensor` with the affine matrix of the label, if that is one.
        """
        target = convert_to_tensor(label, track_meta=False)[None]
        if target.ndim < 3 or target.shape[1] not in (1, self.num_classes):
            raise ValueError(
                f"label: got shape {tuple(target.shape[1:])}, expected (1, *spatial) with class "
                f"indices or ({self.num_classes}, *spatial) with a channel per class. Use "
                "EnsureChannelFirstd before this transform."
            )
        if self.mode == "multiclass" and target.shape[1] != self.num_classes:
            target = as_indices(target)
        shape = (1, self.num_classes, *target.shape[2:])
        # Only the shape of these logits is read.
        logits = torch.zeros((), device=target.device).expand(shape)
        found = as_target(self.mode, logits, target, self.ignore_index)
        options = self.options._replace(ignore_index=found.ignore_index)
        if options.scale is None:
            # The same factor for all images, so that those with fewer classes keep their smaller
            # part in the mean over the batch, as they have it in the loss.
            volume = target[0, 0].numel() if options.volumes is None else options.volumes.max()
            parts = 2 if self.mode == "multilabel" else self.num_classes
            options = options._replace(scale=torch.as_tensor(volume / parts).view(1).float())
        weigh = weigh_voxels if self.mode == "multiclass" else weigh_channels
        spacing = as_spacing(self._spacing(label), target.ndim - 2)
        weights = weigh("label", found.labels, self.radii, spacing, options, torch.float32)[0]
        weights = weights if self.mode == "multiclass" else weights[0]
        return (
            MetaTensor(weights, affine=label.affine) if isinstance(label, MetaTensor) else weights
        )

    def _spacing(self, label: Tensor | np.ndarray) -> Sequence[float] | None:
        if not isinstance(self.spacing, str):
            return self.spacing
        if not isinstance(label, MetaTensor):
            raise TypeError(
                f"label: got {type(label).__name__}, expected a MetaTensor, as LoadImaged gives: "
                "with spacing='meta' its affine matrix says how large a voxel is."
            )
        return [float(size) for size in affine_to_spacing(label.affine, r=label.ndim - 1)]


class DilatedBalancedWeightsd(MapTransform):
    """Dictionary version of `DilatedBalancedWeights`: adds a weight map for each label.

    Put it behind all spatial transforms, so that the map is that of the patch which the network
    sees, and runs in the workers of the data loader.

    Args:
        keys: of the labels.
        radius, num_classes, mode, spacing, overlap, volumes, num_voxels, ignore_index, weight: as
            in `DilatedBalancedWeights`.
        postfix: the map of "label" gets the key "label_weights".
        allow_missing_keys: leave out keys that are missing instead of raising.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import DilatedBalancedWeightsd
        >>> transform = DilatedBalancedWeightsd("label", num_classes=2)
        >>> sorted(transform({"label": torch.zeros(1, 6, 6)}))
        ['label', 'label_weights']
    """

    def __init__(
        self,
        keys: KeysCollection,
        radius: Radius = AUTO,
        *,
        num_classes: int,
        mode: str = "multiclass",
        spacing: Sequence[float] | str | None = None,
        overlap: str = "sum",
        volumes: Tensor | Sequence[float] | None = None,
        num_voxels: float | None = None,
        ignore_index: int | None = -100,
        weight: Tensor | Sequence[float] | float | None = None,
        postfix: str = "weights",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.postfix = postfix
        self.weigh = DilatedBalancedWeights(
            radius,
            num_classes=num_classes,
            mode=mode,
            spacing=spacing,
            overlap=overlap,
            volumes=volumes,
            num_voxels=num_voxels,
            ignore_index=ignore_index,
            weight=weight,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of `data` with the maps."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[f"{key}_{self.postfix}"] = self.weigh(result[key])
        return result


DilatedBalancedWeightsD = DilatedBalancedWeightsDict = DilatedBalancedWeightsd


def as_indices(target: Tensor) -> Tensor:
    """Class indices as integers; transforms and DeepSupervisionLoss make floats of them."""
    if not target.is_floating_point():
        return target
    indices = target.long()
    if target.device.type == "cpu" and not torch.compiler.is_compiling():
        fractions = target[indices != target]
        if fractions.numel() > 0:
            raise ValueError(
                f"target: got {fractions[0].item():g}, expected whole numbers in a target with one "
                "channel. Interpolate labels with mode='nearest'."
            )
    return indices
