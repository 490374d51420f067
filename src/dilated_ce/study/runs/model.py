"""The trained network of a run, kept so that it loads anywhere, and its use on new images.

    model.pt     the weights, a state dict that loads with weights_only=True
    model.json   what the network is made from, and how its images are read and scaled

Examples:
    The network alone, in four lines::

        from dilated_ce.study.runs.model import load_model

        model = load_model("runs/my_data/runs/dice-ce-seed0-fold0-0a1b2c3d")
        logits = model.network(images)  # (B, channels, *spatial), scaled as in training
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.intensities import normalise, scale_ct
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.data.unlabelled import Unlabelled, find_unlabelled, write_labels
from dilated_ce.study.files import write_json
from dilated_ce.study.runs.store import WEIGHTS
from dilated_ce.study.training.infer import predict
from dilated_ce.study.training.networks import build_network
from dilated_ce.study.training.settings import ResolvedTraining

ABOUT = "model.json"


@dataclass(frozen=True)
class About:
    """What a network is made from, and what it was trained on."""

    loss: str
    seed: int
    fold: int
    training: dict[str, Any]  # the settings
    spatial_dims: int
    channels: list[str]  # of the images
    classes: list[str]  # the background first
    overlapping: bool  # whether a voxel may be of several classes
    ct: dict[str, list[float]]  # by channel: lower and upper clip, mean and standard deviation
    scale: float  # by which pictures were resized
    spacing: list[float] | None  # to which volumes were resampled, in mm


@dataclass(frozen=True)
class Model:
    """A trained network in evaluation mode, and what it was trained on."""

    network: nn.Module
    about: About

    @property
    def training(self) -> ResolvedTraining:
        """The settings it was trained with, on whatever device there is."""
        return ResolvedTraining.model_validate(self.about.training)

    def predict(self, image: Unlabelled, device: torch.device) -> NDArray[np.uint8]:
        """The labels (*spatial) on the image's own grid, from the same windows as in the run.

        Of classes that overlap, codes: see `data.cases.mask_of`.
        """
        about = self.about
        ct = [number for number, name in enumerate(about.channels) if name.upper() == "CT"]
        case = image.as_case(about.spatial_dims, about.spacing, about.scale)
        # As they are prepared for training, to the last digit.
        stored = normalise(case.image, ct).astype(np.float16).astype(np.float32)
        scaled = scale_ct(stored, about.ct)
        _, probabilities = predict(
            self.network, case.with_image(scaled), self.training, device, about.overlapping
        )
        return image.labels_of(probabilities, about.spatial_dims, about.overlapping)


def save_model(
    folder: Path,
    network: nn.Module,
    who: tuple[str, int, int],
    training: ResolvedTraining,
    prepared: Prepared,
) -> None:
    """Write the network of a run, whose loss, seed and fold are `who`, into its folder."""
    index, (loss, seed, fold) = prepared.index, who
    # What is of that machine is left out, and so is the file that it started from.
    settings = training.model_dump(mode="json", exclude={"device", "devices", "weights"})
    about = About(
        loss=loss,
        seed=seed,
        fold=fold,
        training=settings,
        spatial_dims=index["spatial_dims"],
        channels=list(index["channels"]),
        classes=list(index["classes"]),
        overlapping=prepared.overlapping,
        ct=index["ct"][fold],
        scale=index["reading"]["scale"],
        spacing=index["reading"]["spacing"],
    )
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    torch.save(weights, folder / WEIGHTS)
    write_json(folder / ABOUT, asdict(about))


def load_model(run: Path | str, device: torch.device | str = "cpu") -> Model:
    """The network of a finished run.

    Args:
        run: its folder, in `runs/` of a study.
        device: where the network goes.

    Raises:
        DataError: no folder of a run, or one that kept no model.
    """
    folder = Path(run)
    if not (folder / ABOUT).is_file():
        runs = sorted(path.parent.name for path in folder.glob(f"runs/*/{ABOUT}"))
        hint = f", such as {folder / 'runs' / runs[0]}" if runs else ""
        if (folder / "run.json").is_file():
            raise DataError(
                f"{folder} kept no model; train it again with --keep all (the default) and --fresh"
            )
        raise DataError(f"{folder} is no folder of a run; expected one in runs/ of a study{hint}")
    try:
        about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        training = ResolvedTraining.model_validate(about.training)
        outputs = len(about.classes) - about.overlapping
        network = build_network(training, about.spatial_dims, len(about.channels), outputs)
        weights = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
    except Exception as error:  # of a damaged file, or of a network of the user's that changed
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{folder}: the model cannot be loaded: {line}") from error
    return Model(network.eval().to(device), about)


def predict_files(
    model: Model,
    paths: Sequence[Path],
    out: Path,
    on_case: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, Path | DataError]]:
    """Predict images in files or folders, and write a label file each.

    Volumes become NIfTI with the image's affine, pictures PNG with a palette; where classes
    overlap, a file for each of them. `labels.json` in `out` names the values.

    Yields:
        The name of each image with what was written, or with what is wrong with it.

    Raises:
        DataError: before any is predicted, if there is none or the channels do not fit.
    """
    found = find_unlabelled(paths, len(model.about.channels))
    out.mkdir(parents=True, exist_ok=True)
    device = next(model.network.parameters()).device
    classes = model.about.classes
    write_json(out / "labels.json", {name: number for number, name in enumerate(classes)})
    for name, files in found.items():
        try:
            image = Unlabelled.read(files, model.about.channels)
            labels = model.predict(image, device)
            yield name, write_labels(out, name, labels, image, classes, model.about.overlapping)
        except DataError as error:
            yield name, error
        on_case()
