"""What nnU-Net has prepared of a data set, checked before any training."""

import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dilated_ce.integrations.nnunet_path import trainers_folder
from dilated_ce.study.data.cases import IGNORE_INDEX, DataError
from dilated_ce.study.files import write_text
from dilated_ce.study.nnunet.settings import NnunetConfig
from dilated_ce.study.training.loss_parts import Setting
from dilated_ce.study.wording import listing, some

SPLITS = "splits_final.json"
PREPROCESSED = {".b2nd", ".npz", ".npy", ".zarr"}  # what an image ends with, by version


@dataclass(frozen=True)
class Workplace:
    """A data set that nnU-Net can train on."""

    preprocessed: Path  # nnUNet_preprocessed
    raw: Path | None  # nnUNet_raw, where it is known
    trainers: Path  # a folder for nnUNet_extTrainer
    name: str  # Dataset004_Hippocampus
    description: dict[str, Any]  # dataset.json
    plans: dict[str, Any]  # all of the plans' file
    config: NnunetConfig
    splits: list[dict[str, list[str]]]

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that are asked for."""
        wanted = self.config.folds
        return tuple(range(len(self.splits))) if wanted is None else wanted

    @property
    def setting(self) -> Setting:
        """What the data say about a loss."""
        labels = dict(self.description["labels"])
        ignored = labels.pop("ignore", None)
        regions = any(isinstance(label, list) for label in labels.values())
        if ignored is not None and regions:
            ignored = IGNORE_INDEX
        return Setting(ignored, None, regions, len(labels) - regions)  # the background is none

    @cached_property
    def truth(self) -> Path:
        """The folder with the true segmentations."""
        return self.preprocessed / self.name / "gt_segmentations"

    def write_splits(self) -> None:
        """Write the split that nnU-Net would, if there is none; runs at once must not race."""
        path = self.preprocessed / self.name / SPLITS
        if not path.exists():
            write_text(path, json.dumps(self.splits, indent=4))


def find_workplace(config: NnunetConfig) -> Workplace:
    """Check that nnU-Net has all that it needs for the runs.

    Raises:
        DataError: what is missing, and the command that makes it.
    """
    try:
        trainers = trainers_folder()
    except ImportError as error:
        raise DataError(f"--trainer nnunet: {error}") from None
    preprocessed = _folder("nnUNet_preprocessed")
    raw = _folder("nnUNet_raw") if os.environ.get("nnUNet_raw") else None  # noqa: SIM112
    name = _dataset(config, preprocessed, raw)
    folder = preprocessed / name
    number = int(name[len("Dataset") :].split("_")[0])
    plan = f"nnUNetv2_plan_and_preprocess -d {number} -c {config.configuration}"
    plans_file = folder / f"{config.plans}.json"
    if not plans_file.is_file():
        there = sorted(path.stem for path in folder.glob("*Plans*.json"))
        other = f"There are the plans {', '.join(there)}: --plans. " if there else ""
        raise DataError(
            f"{name} is not planned: {plans_file} is missing. {other}Otherwise first run: {plan}"
        )
    plans, description = _read(plans_file), _read(folder / "dataset.json")
    data = folder / _identifier(plans, config)
    cases = {path.stem for path in data.glob("*") if path.suffix in PREPROCESSED}
    cases = {name for name in cases if not name.endswith("_seg")}
    preprocess = (
        f"nnUNetv2_preprocess -d {number} -plans_name {config.plans} -c {config.configuration}"
    )
    if not cases:
        raise DataError(
            f"{name} is not preprocessed for {config.configuration}: {data} holds no case. First "
            f"run: {preprocess}"
        )
    splits = _splits(folder, cases)
    place = Workplace(preprocessed, raw, trainers, name, description, plans, config, splits)
    problems = [
        f"fold {fold} is in none of the {len(splits)} splits of {folder / SPLITS}; nnU-Net would "
        f"draw one at random. Expected 0 to {len(splits) - 1}"
        for fold in place.folds
        if fold >= len(splits)
    ]
    for fold in place.folds:
        names = (
            set() if fold >= len(splits) else {n for part in splits[fold].values() for n in part}
        )
        if names - cases:
            problems.append(
                f"fold {fold} has cases that are not preprocessed ({some(sorted(names - cases))}); "
                f"run: {preprocess}"
            )
    if not problems and config.group_by:
        judged = sorted({case for fold in place.folds for case in splits[fold]["val"]})
        found = [re.search(config.group_by, case) for case in judged]
        without = [c for c, m in zip(judged, found, strict=True) if m is None or not m.group(1)]
        if without:
            problems.append(f"group_by {config.group_by!r} finds no patient in {some(without, 3)}")
    if problems:
        raise DataError(listing(f"{name} cannot be trained on as asked", problems))
    return place


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise DataError(
            f"{variable} is not set: nnU-Net reads there. Set it as for nnU-Net itself: "
            f"export {variable}=/path/to/{variable}"
        )
    if not Path(value).is_dir():
        raise DataError(f"{variable} is {value}, which is no folder.")
    return Path(value).resolve()


def _dataset(config: NnunetConfig, preprocessed: Path, raw: Path | None) -> str:
    """The name of the data set, and that it has been seen by nnU-Net."""
    places = [preprocessed, *([raw] if raw else [])]
    names = sorted({path.name for place in places for path in place.glob("Dataset*_*")})
    wanted = config.dataset
    start = wanted if isinstance(wanted, str) else f"Dataset{wanted:03d}_"
    found = [n for n in names if n == wanted or (isinstance(wanted, int) and n.startswith(start))]
    where = " and ".join(map(str, places))
    if len(found) > 1:
        raise DataError(f"dataset {wanted}: got {', '.join(found)} in {where}, expected one.")
    if not found:
        there = f"there: {some(names)}" if names else "no data set is there"
        raise DataError(f"dataset {wanted} is not in {where} ({there}).")
    (name,) = found
    if not (preprocessed / name / "dataset.json").is_file():
        number = int(name[len("Dataset") :].split("_")[0])
        raise DataError(
            f"{name} is not planned and preprocessed: {preprocessed / name} holds no dataset.json. "
            f"First run: nnUNetv2_plan_and_preprocess -d {number} -c {config.configuration}"
        )
    return name


def _identifier(plans: dict[str, Any], config: NnunetConfig) -> str:
    """The folder of the preprocessed cases; a configuration may inherit it."""
    configurations = plans.get("configurations", {})
    name = config.configuration
    if name not in configurations:
        raise DataError(
            f"configuration {name}: {config.plans} has none of that name, expected one of "
            f"{', '.join(configurations)}."
        )
    settings = configurations[name]
    while "inherits_from" in settings:
        settings = {**configurations[settings["inherits_from"]], **_own(settings)}
    if settings.get("previous_stage"):
        raise DataError(
            f"configuration {name} is the second stage of a cascade, for which every trainer needs "
            f"its own {settings['previous_stage']} first; compare the losses on that."
        )
    return str(settings.get("data_identifier") or f"{config.plans}_{name}")


def _own(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "inherits_from"}


def _splits(folder: Path, cases: set[str]) -> list[dict[str, list[str]]]:
    if (folder / SPLITS).is_file():
        splits = _read(folder / SPLITS)
        parts = ("train", "val")
        try:
            folds = [{part: [*map(str, fold[part])] for part in parts} for fold in splits]
        except (KeyError, TypeError):
            folds = []
        if not folds:
            raise DataError(
                f"{folder / SPLITS}: expected a list with the cases of each fold: "
                '[{"train": [...], "val": [...]}, ...]'
            )
        return folds
    if len(cases) < 5:
        raise DataError(
            f"{folder.name}: nnU-Net's five folds need 5 cases, and {len(cases)} are preprocessed; "
            f"write {folder / SPLITS} yourself."
        )
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    drawn = generate_crossval_split(sorted(cases), seed=12345, n_splits=5)
    return [
        {part: [str(name) for name in fold[part]] for part in ("train", "val")} for fold in drawn
    ]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
