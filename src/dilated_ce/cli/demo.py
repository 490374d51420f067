"""`dilated-ce demo`: five losses on the STARE images."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dilated_ce.cli.endings import one_error
from dilated_ce.cli.options import a_path
from dilated_ce.cli.running import carry_out_study
from dilated_ce.study.defaults import DEFAULT_LOSSES, folder_for

# The study is imported when a command needs it: its libraries take seconds, `--help` must not.
if TYPE_CHECKING:
    from dilated_ce.study.data.cases import DataSet
    from dilated_ce.study.data.checking import Looking
    from dilated_ce.study.settings.compare import CompareConfig

LEARNING_RATE = 6e-3  # short training on few images bears a large one


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own data, as for `dilated-ce compare`: a folder with images/ and masks/, "
            "with the same file names in both. Each value in the masks is a class, the smallest "
            "the background.",
            show_default="STARE, downloaded once",
            parser=a_path,
            metavar="DIR",
        ),
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Noisy discs, made on the spot; no download.")
    ] = False,
    losses: Annotated[
        str,
        typer.Option(help="As in `dilated-ce compare`: ce,dbce:radius=4,adaptive-dbce-dice."),
    ] = DEFAULT_LOSSES,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each loss.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each run.")] = 350,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Resize all images by this factor.", show_default="0.5 for STARE, else 1"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to train: auto (a GPU if there is one), cpu or gpu.")
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs at the same time, as far as memory allows.",
            show_default="one per GPU, or per core",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the runs, cases.csv and report.html.",
            parser=a_path,
            show_default="runs/demo, or another name for other data",
            metavar="DIR",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train all runs again, finished ones included.")
    ] = False,
) -> None:
    """Train a small U-Net on retinal vessels under five losses and show the difference.

    This takes less than 10 minutes on 2 CPU cores. After an interruption run the same command
    again: finished runs are kept. For more than a first look: `dilated-ce compare`.
    """
    from dilated_ce.study.data.cases import DataError
    from dilated_ce.study.runs.store import StudyError
    from dilated_ce.study.settings.compare import SettingsError
    from dilated_ce.study.settings.file import build_config
    from dilated_ce.study.training.loss_spec import parse_losses

    if data is not None and synthetic:
        raise typer.BadParameter("expected one of --data and --synthetic, got both.")
    if scale is not None and synthetic:
        raise typer.BadParameter("synthetic images are not resized.", param_hint="--scale")
    if scale is not None and not 0 < scale <= 4:
        raise typer.BadParameter(
            f"got {scale:g}, expected more than 0 and at most 4.", param_hint="--scale"
        )
    training = {"steps": steps, "device": device, "learning_rate": LEARNING_RATE}
    folder = out or _default_folder(data, synthetic)
    values: dict[str, Any] = {
        "seeds": seeds,
        "training": {**training, "batch_size": 8, "patch_size": 128},
        "execution": {"workers": workers},
        "out": folder,
    }
    if data is not None:
        values["data"] = {"path": data, "scale": scale or 1.0}
    try:
        values["losses"] = parse_losses(losses)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--losses") from None
    with one_error(folder, SettingsError, DataError, StudyError):
        open_dataset = functools.partial(_open, synthetic=synthetic, scale=scale)
        carry_out_study(build_config(values), open_dataset, fresh=fresh)


def _default_folder(data: Path | None, synthetic: bool) -> Path:
    if data is not None:
        return folder_for(data, "demo-")
    return Path("runs/demo-synthetic" if synthetic else "runs/demo")


def _open(
    config: "CompareConfig", look: "Looking", synthetic: bool, scale: float | None
) -> "DataSet":
    from dilated_ce.study.data.cases import DataError
    from dilated_ce.study.data.reading import open_data
    from dilated_ce.study.data.stare import open_stare
    from dilated_ce.study.data.synthetic import make_synthetic

    if config.data is not None:
        return open_data(config.data, look)
    if synthetic:
        return make_synthetic()
    try:
        return open_stare(scale or 0.5)
    except DataError as error:
        raise DataError(
            f"{error}\nWithout the network: `dilated-ce demo --data DIR` takes your own images "
            "and masks, `dilated-ce demo --synthetic` makes its own."
        ) from error
