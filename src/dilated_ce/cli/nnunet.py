"""`dilated-ce nnunet-path`: where nnU-Net finds the trainers."""

import re
from importlib import metadata
from pathlib import Path

import typer

import dilated_ce
from dilated_ce.cli.console import fail


def nnunet_path() -> None:
    """Print the folder in which nnU-Net finds the trainers, for nnUNet_extTrainer.

    export nnUNet_extTrainer="$(dilated-ce nnunet-path)"
    """
    try:
        version = metadata.version("nnunetv2")
    except metadata.PackageNotFoundError:
        fail("nnU-Net is not installed here: pip install 'dilated-ce[nnunet]'")
    if [int(number) for number in re.findall(r"\d+", version)[:2]] < [2, 8]:
        fail(f"got nnU-Net {version}, expected 2.8 or newer: pip install 'dilated-ce[nnunet]'")
    folder = Path(dilated_ce.__file__).parent / "integrations" / "nnunet_trainers"
    typer.echo(folder)  # plain: a shell reads it
