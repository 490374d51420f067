"""The options of `dilated-ce compare` that are nnU-Net's, and those that mean nothing to it."""

from typing import Annotated, Any

import typer

NNUNET = "nnU-Net"
# Settings of our own trainer by their options; those of --set are named as they are.
OWN = {
    "data.path": "--data",
    "data.dims": "--dims",
    "data.scale": "--scale",
    "data.spacing": "--spacing",
    "data.mask_threshold": "--mask-threshold",
    "data.mask_classes": "--mask-classes",
    "data.ignore_value": "--ignore-value",
    "data.split_file": "--split",
    "training.network": "--network",
    "training.steps": "--steps",
    "training.batch_size": "--batch-size",
    "training.patch_size": "--patch-size",
    "training.learning_rate": "--lr",
    "training.precision": "--precision",
    "training.forward": "--compile",
    "tune": "--tune",
}
THEIRS = {
    "nnunet.dataset": "--dataset",
    "nnunet.configuration": "--configuration",
    "nnunet.plans": "--plans",
    "nnunet.epochs": "--epochs",
}
SHARED = {  # what both have, in sections of their own
    "data.folds": "nnunet.folds",
    "data.group_by": "nnunet.group_by",
    "training.device": "nnunet.device",
    "training.devices": "nnunet.devices",
}

Trainer = Annotated[
    str | None,
    typer.Option(
        help="own, or nnunet: every run is an nnUNetv2_train, on a data set prepared by "
        "nnUNetv2_plan_and_preprocess.",
        show_default="own",
        autocompletion=lambda incomplete: [
            n for n in ("own", "nnunet") if n.startswith(incomplete)
        ],
        rich_help_panel=NNUNET,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="Number or name of nnU-Net's data set, such as 4.", rich_help_panel=NNUNET),
]
Configuration = Annotated[
    str | None,
    typer.Option(
        help="Configuration of the plans.", show_default="3d_fullres", rich_help_panel=NNUNET
    ),
]
Plans = Annotated[
    str | None,
    typer.Option(help="Name of the plans.", show_default="nnUNetPlans", rich_help_panel=NNUNET),
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Epochs of each run.", show_default="1000", rich_help_panel=NNUNET),
]


def folds_of(text: str | None, nnunet: bool) -> int | list[int] | None:
    """How many folds, for our own trainer; or which, for nnU-Net."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or (len(numbers) > 1 and not nnunet):
        expected = "numbers of folds, such as 0,1" if nnunet else "how many, such as 5"
        raise typer.BadParameter(f"got {text!r}, expected {expected}.", param_hint="--folds")
    return numbers if nnunet else numbers[0]


def for_trainer(options: dict[str, Any], nnunet: bool) -> dict[str, Any]:
    """The options under the settings of the trainer.

    Raises:
        typer.BadParameter: with all options that mean nothing to it.
    """
    others = ("nnunet",) if not nnunet else ("data", "training", "tune")
    names = {**OWN, **THEIRS}
    wrong = [
        names.get(name, f"--set {name}")
        for name, value in options.items()
        if value is not None
        and name.partition(".")[0] in others
        and not (nnunet and name in SHARED)
    ]
    if wrong and nnunet:
        raise typer.BadParameter(
            f"{', '.join(wrong)}: nnU-Net has its own data set, plans and training, to which these "
            "mean nothing; leave them out.",
            param_hint="--trainer nnunet",
        )
    if wrong:
        raise typer.BadParameter(
            "these are for --trainer nnunet, which is not asked for.",
            param_hint=", ".join(wrong),
        )
    return {SHARED.get(name, name) if nnunet else name: value for name, value in options.items()}
