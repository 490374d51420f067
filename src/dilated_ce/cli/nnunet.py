"""`dilated-ce nnunet-path`: where nnU-Net finds the trainers."""

import typer

from dilated_ce.cli.console import fail


def nnunet_path() -> None:
    """Print the folder in which nnU-Net finds the trainers, for nnUNet_extTrainer.

    export nnUNet_extTrainer="$(dilated-ce nnunet-path)"
    """
    # Not above: the package of the integrations imports torch, and `--help` must not take seconds.
    from dilated_ce.integrations.nnunet_path import trainers_folder

    try:
        typer.echo(trainers_folder())  # plain: a shell reads it
    except ImportError as error:
        fail(str(error))
