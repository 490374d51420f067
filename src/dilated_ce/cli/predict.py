"""`dilated-ce predict`: new images with the network of a run."""

from pathlib import Path
from typing import Annotated

import typer

from dilated_ce.cli.console import console, errors, fail
from dilated_ce.cli.options import a_path, one_of
from dilated_ce.study.progress import counting
from dilated_ce.study.wording import escape

SOME_FAILED = 3  # exit code


def predict(
    run: Annotated[
        Path,
        typer.Argument(help="The folder of a run, in runs/ of a study.", metavar="RUN"),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Images or folders of images. Channels in separate files are numbered as in "
            "nnU-Net: a_0000.nii.gz, a_0001.nii.gz.",
            metavar="IMAGES...",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the labels.", parser=a_path, metavar="DIR")],
    device: Annotated[
        str,
        typer.Option(
            help="auto (a GPU if there is one), cpu or gpu.",
            autocompletion=one_of("auto", "cpu", "gpu"),
        ),
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite existing label files.")
    ] = False,
) -> None:
    """Predict images with the trained network of a run, in the same way as the run.

    Images are normalised, resampled and predicted in windows as they were in the run. The labels
    are brought back to the grid of the image: NIfTI with its affine for volumes, PNG with a palette
    for pictures. labels.json names the values.

    Exit codes: 0 success; 1 a problem with the run or the images; 2 a wrong option; 3 some images
    could not be predicted.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise typer.BadParameter(f"got {device!r}, expected auto, cpu or gpu.")
    import torch

    from dilated_ce.study import machine
    from dilated_ce.study.data.cases import DataError
    from dilated_ce.study.data.unlabelled import find_unlabelled
    from dilated_ce.study.runs.model import load_model, predict_files

    if device == "gpu" and not machine.has_gpu():
        raise typer.BadParameter("PyTorch sees no GPU here; expected auto or cpu.")
    gpu = "cuda" if torch.cuda.is_available() else "mps"
    troubles = 0
    try:
        model = load_model(run, gpu if device != "cpu" and machine.has_gpu() else "cpu")
        found = find_unlabelled(images, len(model.about.channels))
        there = [] if overwrite or not out.is_dir() else sorted(p.name for p in out.iterdir())
        if there:
            fail(
                f"{out} is not empty ({there[0]}); choose another folder with --out, or take "
                "--overwrite."
            )
        with counting(console, "predicting", len(found)) as on_case:
            for name, outcome in predict_files(model, images, out, on_case):
                if isinstance(outcome, DataError):
                    troubles += 1
                    errors.print(f"[red]error:[/] {escape(name)}: {escape(str(outcome))}")
    except (DataError, OSError) as error:
        fail(str(error))
    console.print(
        f"{len(found) - troubles} of {len(found)} images predicted: [bold]{escape(str(out))}[/]",
        highlight=False,
        soft_wrap=True,
    )
    if troubles:
        raise typer.Exit(SOME_FAILED)
