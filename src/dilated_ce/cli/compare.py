"""`dilated-ce compare`: losses compared on the user's own data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dilated_ce.cli.console import fail
from dilated_ce.cli.endings import one_error
from dilated_ce.cli.nnunet_options import Configuration, Dataset, Epochs, Plans, Trainer
from dilated_ce.cli.options import (
    NETWORK_NAMES,
    a_path,
    classes,
    complete_losses,
    configure,
    dimensions,
    numbers,
    one_of,
    tuning,
    value_of_mask,
)
from dilated_ce.cli.running import carry_out_study
from dilated_ce.cli.running_nnunet import carry_out_with_nnunet
from dilated_ce.study.defaults import DEFAULT_LOSSES

DATA, TRAINING, RUNNING = "Data", "Training", "Running"


def compare(
    settings: Annotated[
        Path | None,
        typer.Argument(help="A YAML file with settings; options override it.", metavar="[FILE]"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder with images/ and masks/ (PNG, JPEG, TIFF), or one in nnU-Net's raw or "
            "the Medical Segmentation Decathlon's format (dataset.json, NIfTI).",
            parser=a_path,
            metavar="DIR",
            rich_help_panel=DATA,
        ),
    ] = None,
    dims: Annotated[
        str | None,
        typer.Option(
            help="2, 3 or auto. Volumes are taken whole; 2 trains on their slices.",
            show_default="that of the data",
            rich_help_panel=DATA,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Resize 2D images by this factor.", rich_help_panel=DATA),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            help="Resample volumes to voxels of this size in mm, such as 1,1,3.",
            rich_help_panel=DATA,
        ),
    ] = None,
    mask_threshold: Annotated[
        int | None,
        typer.Option(help="Grey values above this are foreground.", rich_help_panel=DATA),
    ] = None,
    mask_classes: Annotated[
        str | None,
        typer.Option(
            help="Names of the classes and their grey values or colours in the masks, the "
            'background first: "background=0,polyp=255" or "background=#000000,polyp=#ff0000".',
            rich_help_panel=DATA,
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Number of folds for cross-validation; with nnU-Net, which of its folds: 0,1.",
            show_default="none; with nnU-Net all",
            rich_help_panel=DATA,
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            help="JSON or YAML with lists of case names: train, validation, test; or nnU-Net's "
            "splits_final.json; or the split.json of another study.",
            show_default="by the folders, or a quarter at random, stratified",
            parser=a_path,
            metavar="FILE",
            rich_help_panel=DATA,
        ),
    ] = None,
    ignore_value: Annotated[
        str | None,
        typer.Option(
            help="The value of pixels that nobody labelled: 255, or a colour.",
            metavar="VALUE",
            rich_help_panel=DATA,
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="A regular expression whose first group finds the patient in the name of a "
            "case's file, without its folder: cases of one patient stay together in every split.",
            metavar="REGEX",
            rich_help_panel=DATA,
        ),
    ] = None,
    losses: Annotated[
        str | None,
        typer.Option(
            help="ce, balanced-ce, dbce:radius=R, adaptive-dbce, dice, dice-ce, "
            "dbce-dice:radius=R, adaptive-dbce-dice, focal, dice-focal, generalised-dice, tversky, "
            "top-k, dice-top-k, lovasz, unified-focal, dice-cldice, dice-boundary, "
            "dice-hausdorff-dt, or your own module:Class.",
            show_default=DEFAULT_LOSSES,
            autocompletion=complete_losses,
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each loss.", show_default="3")] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The loss to compare the others with.",
            show_default="dice-ce, ce or the first",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Difference in Dice points up to which two losses count as equivalent.",
            show_default="1.5",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Tolerance of the surface Dice (NSD), in mm for volumes, pixels for pictures.",
            show_default="2",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="A MONAI network with its arguments, such as unet, dynunet, segresnet or "
            "SwinUNETR:feature_size=12; smp:Unet:encoder_name=resnet18 from "
            "segmentation_models.pytorch; or your own module:function.",
            show_default="unet",
            autocompletion=one_of(*NETWORK_NAMES),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A file with weights from which every run starts.",
            parser=a_path,
            metavar="FILE",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Training steps of each run.", show_default="1000", rich_help_panel=TRAINING
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Patches per step.", show_default="8 in 2D, 4 in 3D", rich_help_panel=TRAINING
        ),
    ] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(
            help="Voxels along each axis of a patch, such as 128 or 32,48,32.",
            show_default="the median case, at most 128 in 2D, 64 in 3D",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--lr", help="Peak learning rate.", show_default="0.003", rich_help_panel=TRAINING
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            help="lr: search a learning rate for each loss on the validation part, equally long.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="32-true, 16-mixed or bf16-mixed.",
            show_default="32-true",
            autocompletion=one_of("32-true", "16-mixed", "bf16-mixed"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Train with torch.compile: faster after a minute; needs a C compiler.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto (a GPU if there is one), cpu or gpu.",
            show_default="auto",
            autocompletion=one_of("auto", "cpu", "gpu"),
            rich_help_panel=RUNNING,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(help="GPUs per run.", show_default="1", rich_help_panel=RUNNING),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="local (this machine), or ray or slurm for several machines.",
            show_default="local",
            autocompletion=one_of("local", "ray", "slurm"),
            rich_help_panel=RUNNING,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs at the same time on this machine, as far as memory allows, or in Slurm.",
            show_default="one per GPU, or per core; in Slurm, as many as it lets",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a running Ray cluster, or auto.",
            show_default="Ray on this machine",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            help="Slurm's partition.", show_default="Slurm's default one", rich_help_panel=RUNNING
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Time limit of a Slurm job, in minutes or as 12:00:00. A longer run goes on in "
            "the next job.",
            show_default="4:00:00",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    trainer: Trainer = None,
    dataset: Dataset = None,
    configuration: Configuration = None,
    plans: Plans = None,
    epochs: Epochs = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting: --set training.optimizer=sgd. May be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the runs, the tables and report.html.",
            parser=a_path,
            show_default="runs/NAME-OF-THE-DATA",
            metavar="DIR",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="What to keep of every run beside its scores: none, predictions, or all, which "
            "includes the trained model (see dilated-ce predict).",
            show_default="all",
            autocompletion=one_of("none", "predictions", "all"),
            rich_help_panel=RUNNING,
        ),
    ] = None,
    logger: Annotated[
        str | None,
        typer.Option(
            help="Log loss, learning rate, validation Dice and pictures to logs/ in --out: "
            "tensorboard, wandb, mlflow or csv, or several with commas.",
            autocompletion=one_of("tensorboard", "wandb", "mlflow", "csv"),
            rich_help_panel=RUNNING,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything, list the runs and estimate their time; train nothing.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Train all runs again, finished ones included.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
) -> None:
    """Train the same network under each loss on your data, and report which helps.

    After an interruption run the same command again: finished runs are kept, and unfinished ones
    resume from their last checkpoint.

    Exit codes: 0 success; 1 a problem with the data, the settings or the disk; 2 a wrong option;
    3 some runs failed, and the report is without them; 130 interrupted.
    """
    options: dict[str, Any] = {
        "data.path": data,
        "data.dims": dimensions(dims),
        "data.scale": scale,
        "data.spacing": numbers("--spacing", spacing),
        "data.mask_threshold": mask_threshold,
        "data.mask_classes": classes(mask_classes),
        "data.ignore_value": None if ignore_value is None else value_of_mask(ignore_value),
        "data.folds": folds,
        "trainer": trainer,
        "nnunet.dataset": dataset,
        "nnunet.configuration": configuration,
        "nnunet.plans": plans,
        "nnunet.epochs": epochs,
        "data.split_file": split,
        "data.group_by": group_by,
        "losses": losses,
        "seeds": seeds,
        "statistics.reference": reference,
        "statistics.margin": margin,
        "scoring.tolerance": tolerance,
        "training.network": network,
        "training.weights": weights,
        "training.steps": steps,
        "training.batch_size": batch_size,
        "training.patch_size": numbers("--patch-size", patch_size),
        "training.learning_rate": learning_rate,
        "training.precision": precision,
        "training.forward": "compiled" if compile else None,
        "training.device": device,
        "training.devices": devices,
        "tune": tuning(tune),
        "execution.engine": engine,
        "execution.workers": workers,
        "execution.address": address,
        "execution.partition": partition,
        "execution.time": time,
        "keep": keep,
        "loggers": None if logger is None else [part.strip() for part in logger.split(",")],
        "out": out,
    }
    from dilated_ce.study.data.cases import DataError
    from dilated_ce.study.runs.store import StudyError
    from dilated_ce.study.settings.compare import NnunetCompareConfig, SettingsError

    try:
        config = configure(settings, options, set_ or [])
    except SettingsError as error:
        fail(str(error))
    with one_error(config.out, SettingsError, DataError, StudyError):
        if isinstance(config, NnunetCompareConfig):
            carry_out_with_nnunet(config, dry_run, fresh)
        else:
            carry_out_study(config, dry_run=dry_run, fresh=fresh)
