"""The training patches of a run: number i is a function of the seed and of i alone.

So every loss sees the same patches under a seed, whatever the number of processes that load them,
and a run that goes on after an interruption sees those that it would have seen.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from monai.transforms import ResizeWithPadOrCropd
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dilated_ce.study.data.prepared import Prepared

BOTH = ["image", "labels"]


class Patches(Dataset[dict[str, Tensor]]):
    """Patches of the training cases, and how each is to be augmented."""

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
        self.augment = augment

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, index])
        name = self.names[int(random.integers(len(self.names)))]
        image, labels = self.prepared.open(name)
        centre = draw_centre(self.prepared, name, labels.shape, self.foreground, random)
        # Scaled before it is padded by 0, the mean.
        patch = cut(image, labels, centre, self.patch_size, self.scale)
        if self.augment:
            patch["change"] = draw_change(len(self.patch_size), random)
        return patch

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
            classes = centres[:, 0]  # in order
            bounds = np.flatnonzero(np.diff(classes, prepend=0, append=classes[-1] + 1))
            which = random.integers(len(bounds) - 1)
            place = centres[random.integers(*bounds[which : which + 2]), 1:]
            return tuple(map(int, place))
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
    fore = labels.ndim - len(patch_size)
    window = tuple(
        slice(start := max(0, min(middle - size // 2, side - size)), min(side, start + size))
        for middle, size, side in zip(centre[fore:], patch_size, labels.shape[fore:], strict=True)
    )
    where: tuple[slice | int, ...] = (*centre[:fore], *window)
    patch = {
        "image": torch.from_numpy(scale(image[(slice(None), *where)].astype(np.float32))),
        "labels": torch.from_numpy(labels[where][None].astype(np.uint8)),
    }
    if patch["labels"].shape[1:] == patch_size:
        return patch
    padded = ResizeWithPadOrCropd(BOTH, patch_size)(patch)
    return {key: torch.as_tensor(padded[key]) for key in BOTH}


def draw_change(axes: int, random: np.random.Generator) -> Tensor:
    """How a patch is changed (axes + 3,): see `change`."""
    flips = random.random(axes) < 0.5
    turns = random.integers(4)
    factor, offset = random.uniform(-0.1, 0.1, 2) * (random.random(2) < 0.5)
    return torch.tensor([*flips, turns, 1 + factor, offset], dtype=torch.float32)


def change(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch of patches with its changes, on the device where it is.

    Each is flipped along some axes, turned by right angles where two sides are equal, and its
    values are multiplied by a number of 0.9 to 1.1, or have one of -0.1 to 0.1 added, or both.

    Args:
        batch: image (B, channels, *spatial), labels (B, 1, *spatial), and perhaps their `change`.

    Returns:
        Image and labels; all of it as it was, if there is nothing to change.

    Examples:
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> flipped_twice = torch.tensor([[1, 1, 0, 1.1, 0]])
        >>> changed = change({"image": image, "labels": image.byte(), "change": flipped_twice})
        >>> changed["labels"].tolist()
        [[[[4, 3], [2, 1]]]]
    """
    if "change" not in batch:
        return batch
    image, labels = batch["image"], batch["labels"]
    sides = image.shape[2:]
    axes = range(len(sides))
    square = next(((a, b) for a in axes for b in axes if a < b and sides[a] == sides[b]), None)
    *moves, factors, offsets = batch["change"].cpu().unbind(1)
    for index, (*flips, turns) in enumerate(torch.stack(moves, 1).int().tolist()):
        flipped = [axis + 1 for axis, is_flipped in enumerate(flips) if is_flipped]
        for values in (image, labels):
            moved = values[index].flip(flipped)
            if square is not None:
                moved = moved.rot90(turns, [axis + 1 for axis in square])
            values[index] = moved
    each = (-1, *[1] * (image.ndim - 1))
    scale, shift = (numbers.to(image.device).view(each) for numbers in (factors, offsets))
    return {"image": image.mul_(scale).add_(shift), "labels": labels}


class StepSampler(Sampler[list[int]]):
    """The numbers of the patches of some training steps, and of one of several processes."""

    def __init__(
        self, steps: range, batch_size: int, process: int = 0, num_processes: int = 1
    ) -> None:
        self.steps, self.batch_size = steps, batch_size  # the steps may be set anew
        share = batch_size // num_processes
        self.share = range(process * share, (process + 1) * share)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield [step * self.batch_size + offset for offset in self.share]
