"""The data sets and the arms of the evidence study, as results/PROTOCOL.md has them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dilated_ce.study.data.cases import DataSet, mask_of
from dilated_ce.study.data.reading import DataConfig, open_data
from dilated_ce.study.data.stare import open_stare
from dilated_ce.study.training.settings import TrainingConfig

RUNS = Path(__file__).resolve().parents[2] / "runs" / "evidence"
SPLIT_SEED = 2026
FOLDS = 5
RADII = (1, 2, 4, 8, 16, 32)
RATES = (1e-3, 3e-3, 9e-3)
BEYOND = {1e-3: 3.3e-4, 9e-3: 2.7e-2}  # where the best of them is the smallest or largest
FIRST_RATE = 3e-3

# "{radius}" stands for the radius that was chosen on validation.
MAIN = {
    "ce": "ce",
    "balanced-ce": "balanced-ce",
    "dice-ce": "dice-ce",
    "dbce": "dbce:radius={radius}",
    "dbce-dice": "dbce-dice:radius={radius}",
    "adaptive-dbce": "adaptive-dbce",
    "adaptive-dbce-dice": "adaptive-dbce-dice",
}
ABLATIONS = {
    "no-dilation": "ablations:WithoutDilation",
    "no-shares": "ablations:WithoutShares",
}
RIVALS = {
    "dice": "dice",
    "dice-focal": "dice-focal",
    "generalised-dice": "generalised-dice",
    "unified-focal": "unified-focal",
    "dice-top-k": "dice-top-k",
    "dice-boundary": "dice-boundary",
}
GROUPS = {"main": (MAIN, 5), "ablations": (ABLATIONS, 3), "rivals": (RIVALS, 3), "long": (MAIN, 1)}

LONG_STEPS = {"hippocampus": 6000, "kvasir": 6000, "busi": 4000, "acdc": 4000}
LONG_FOLDS = 3  # of a cross-validated set: as many as there was time for
LONG_CHANNELS = {2: (40, 80, 160, 320), 3: (32, 64, 128, 256)}  # by the axes of a patch


@dataclass(frozen=True)
class Set:
    """A data set and its short schedule."""

    folder: str
    options: dict
    steps: int = 600
    patch: tuple[int, ...] = (128, 128)
    batch: int = 8
    tolerance: float = 2.0
    healthy: bool = True  # whether cases without a foreground stay
    channels: tuple[int, ...] = (16, 32, 64, 128)
    forward: str = "compiled"
    choices_of: str = ""  # the set whose radii and rates it takes

    @property
    def path(self) -> Path:
        """Where it lies, under the folder that DILATED_CE_DATA names."""
        return Path(os.environ.get("DILATED_CE_DATA", "data")) / self.folder

    @property
    def is_there(self) -> bool:
        """Whether it can be opened; STARE is fetched."""
        return self.folder == "stare" or self.path.is_dir()

    def runs(self, number: int) -> Iterator[tuple[int, int]]:
        """Fold and seed of each run: one run for each of several folds, else so many."""
        if (folds := self.options.get("folds", 1)) > 1:
            yield from ((fold, fold) for fold in range(folds))
        else:
            yield from ((0, seed) for seed in range(number))

    def open(self) -> DataSet:
        """The data."""
        path = write_stare(RUNS / "stare-images") if self.folder == "stare" else self.path
        data = open_data(DataConfig(path=path, split_seed=SPLIT_SEED, **self.options))
        return data if self.healthy else without_healthy(data)

    def training(self, **changes: object) -> TrainingConfig:
        """How its networks are trained."""
        return TrainingConfig.model_validate(
            {
                "steps": self.steps,
                "patch_size": self.patch,
                "batch_size": self.batch,
                "channels": self.channels,
                "precision": "bf16-mixed",
                "forward": self.forward,
                "threads": 1,
                "evaluations": 3,
                **changes,
            }
        )


def runs_of(group: str, what: Set) -> list[tuple[int, int]]:
    """Fold and seed of each run of an arm in a group, on one data set."""
    runs = what.runs(GROUPS[group][1])
    return [run for run in runs if group != "long" or run[0] < LONG_FOLDS]


def write_stare(folder: Path) -> Path:
    """STARE, which comes from PyPI, as a folder of images and masks without a split."""
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    for case in open_stare(scale=1.0).cases:
        loaded = case.load()
        images = {"images": np.moveaxis(loaded.image, 0, -1), "masks": loaded.labels}
        for kind, values in images.items():
            path = part / kind / f"{case.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(255 * values).astype(np.uint8)).save(path)
    return part.rename(folder)


def without_healthy(data: DataSet) -> DataSet:
    """The same less the cases in which no class is."""
    kept = {
        case.name
        for case in data.cases
        if any(
            mask_of(case.load().labels, index, data.overlapping).any()
            for index in range(1, len(data.classes))
        )
    }
    folds = tuple(
        replace(
            fold,
            **{part: tuple(n for n in getattr(fold, part) if n in kept) for part in PARTS},
        )
        for fold in data.folds
    )
    return replace(data, cases=tuple(c for c in data.cases if c.name in kept), folds=folds)


PARTS = ("train", "validation", "test")
SETS = {
    "stare": Set("stare", {"scale": 0.5, "folds": FOLDS}),
    "busi": Set("busi", {"scale": 0.5, "folds": FOLDS}, healthy=False),
    "hippocampus": Set(
        "Dataset004_Hippocampus", {}, steps=400, patch=(32, 48, 32), batch=4, tolerance=1.0
    ),
    "acdc": Set("Dataset027_ACDC", {"dims": 2, "group_by": r"^(patient\d+)", "folds": FOLDS}),
    "kvasir": Set("kvasir_seg", {"scale": 128 / 352, "mask_threshold": 127}, steps=800),
    "ph2": Set("ph2", {"scale": 2 / 3}),
    "nuclei": Set("nuclei", {}),
    "healthy": Set("busi", {"scale": 0.5, "folds": FOLDS}, choices_of="busi"),
}
