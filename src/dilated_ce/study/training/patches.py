"""The training patches of a run: number i is a function of the seed and of i alone.

So every loss sees the same patches under a seed, whatever the number of processes that load them,
and a run that goes on after an interruption sees those that it would have seen.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandFlipd,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    ResizeWithPadOrCropd,
)
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dilated_ce.study.data.prepare import Prepared

BOTH = ["image", "labels"]


class Patches(Dataset[dict[str, Tensor]]):
    """Augmented patches of the training cases."""

    def __init__(
        self,
        prepared: Prepared,
        fold: int,
        names: Sequence[str],
        patch_size: tuple[int, ...],
        seed: int,
        foreground: float,
        augment: bool,
    ) -> None:
        self.prepared, self.fold, self.names = prepared, fold, names
        self.patch_size, self.seed, self.foreground = patch_size, seed, foreground
        self.transform = standard_augmentation(patch_size) if augment else Compose([])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, index])
        name = self.names[int(random.integers(len(self.names)))]
        case = self.prepared.load(name)
        centre = draw_centre(self.prepared, name, case.labels.shape, self.foreground, random)
        # Scaled before it is padded by 0, the mean.
        patch = cut(case.image, case.labels, centre, self.patch_size, self.scale)
        self.transform.set_random_state(seed=int(random.integers(2**31)))
        augmented = self.transform(patch)
        return {key: torch.as_tensor(augmented[key]) for key in BOTH}

    def scale(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the prepared data scale CT for this fold."""
        return self.prepared.scale(image, self.fold)


def draw_centre(
    prepared: Prepared,
    name: str,
    shape: tuple[int, ...],
    foreground: float,
    random: np.random.Generator,
) -> tuple[int, ...]:
    """A voxel of a random foreground class of the case, or, else, any voxel."""
    if random.random() < foreground:
        centres = prepared.centres(name)
        if len(centres):
            wanted = random.choice(np.unique(centres[:, 0]))
            places = centres[centres[:, 0] == wanted, 1:]
            return tuple(map(int, places[random.integers(len(places))]))
    return tuple(int(random.integers(side)) for side in shape)


def cut(
    image: NDArray[np.floating],
    labels: NDArray[np.uint8],
    centre: tuple[int, ...],
    patch_size: tuple[int, ...],
    scale: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda image: image,
) -> dict[str, Tensor]:
    """The patch around a voxel, moved into the image where it would stick out.

    An image smaller than the patch is padded by its mean, 0, and by background. Of a stack of
    slices, when the patch has an axis less than the labels, it is that of the voxel.
    """
    if len(patch_size) < labels.ndim:
        image, labels, centre = image[:, centre[0]], labels[centre[0]], centre[1:]
    window = tuple(
        slice(start := max(0, min(middle - size // 2, side - size)), start + size)
        for middle, size, side in zip(centre, patch_size, labels.shape, strict=True)
    )
    patch = {
        "image": torch.from_numpy(scale(image[(slice(None), *window)].astype(np.float32))),
        "labels": torch.from_numpy(labels[window][None].astype(np.uint8)),
    }
    if patch["labels"].shape[1:] == patch_size:
        return patch
    padded = ResizeWithPadOrCropd(BOTH, patch_size)(patch)
    return {key: torch.as_tensor(padded[key]) for key in BOTH}


def standard_augmentation(patch_size: tuple[int, ...]) -> Compose:
    """Flips, turns by right angles where two sides are equal, and changes of intensity."""
    axes = range(len(patch_size))
    square = next(
        ((a, b) for a in axes for b in axes if a < b and patch_size[a] == patch_size[b]), None
    )
    turns = [RandRotate90d(BOTH, prob=0.75, spatial_axes=square)] if square else []
    return Compose(
        [
            *(RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in axes),
            *turns,
            RandScaleIntensityd("image", factors=0.1, prob=0.5),
            RandShiftIntensityd("image", offsets=0.1, prob=0.5),
        ]
    )


class StepSampler(Sampler[list[int]]):
    """The numbers of the patches of some training steps, and of one of several processes."""

    def __init__(
        self, steps: range, batch_size: int, process: int = 0, num_processes: int = 1
    ) -> None:
        self.steps, self.batch_size = steps, batch_size
        share = batch_size // num_processes
        self.share = range(process * share, (process + 1) * share)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield [step * self.batch_size + offset for offset in self.share]
