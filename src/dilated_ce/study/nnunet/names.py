"""A loss of the command line as a trainer of nnU-Net, by its name: the name holds all settings."""

import re

from dilated_ce.study.training.loss_parts import Setting
from dilated_ce.study.training.loss_spec import LossSpec, parse_loss

# Trainers of nnU-Net's own, which take no parameter.
THEIRS = {
    "dice-ce": "nnUNetTrainer",
    "ce": "nnUNetTrainerCELoss",
    "dice": "nnUNetTrainerDiceLoss",
    "top-k": "nnUNetTrainerTopk10Loss",
}
WITHOUT_REGIONS = {"ce", "top-k"}  # those that nnU-Net has for labels alone
WITHOUT_IGNORED = {"dice"}  # whose trainer takes the ignore label for a class
OURS = {
    "balanced-ce": "nnUNetTrainerDBCE",
    "dbce": "nnUNetTrainerDBCE",
    "dbce-dice": "nnUNetTrainerDBCEDice",
    "adaptive-dbce": "nnUNetTrainerAdaptiveDBCE",
    "adaptive-dbce-dice": "nnUNetTrainerAdaptiveDBCEDice",
}
OTHERS = "nnUNetTrainerLoss_"  # any loss; see `nnunet.trainer`


def trainer_name(
    loss: LossSpec,
    epochs: int,
    seed: int,
    iterations: int | None = None,
    setting: Setting | None = None,
) -> str:
    """The trainer that trains under a loss, for so long and from that seed.

    Args:
        loss: any loss of the command line.
        epochs: of the training.
        seed: of the initial weights.
        iterations: training steps in an epoch; None for nnU-Net's 250.
        setting: whether the labels are nnU-Net's regions, and whether one of them is ignored.

    Raises:
        ValueError: a loss whose parameters cannot stand in the name of a folder.

    Examples:
        >>> trainer_name(parse_loss("dbce-dice:radius=4"), epochs=100, seed=0)
        'nnUNetTrainerDBCEDice_R4_100epochs_seed0'
        >>> trainer_name(parse_loss("tversky:alpha=0.4"), epochs=100, seed=1)
        'nnUNetTrainerLoss_tversky@alpha=0.4_100epochs_seed1'
    """
    steps = "" if iterations is None else f"_{iterations}iterations"
    return f"{_trainer(loss, setting or Setting())}_{epochs}epochs{steps}_seed{seed}"


def _trainer(loss: LossSpec, setting: Setting) -> str:
    if loss.name in THEIRS and not loss.parameters:
        regions = setting.overlapping and loss.name in WITHOUT_REGIONS
        ignored = setting.ignore_index is not None and loss.name in WITHOUT_IGNORED
        if not (regions or ignored):
            return THEIRS[loss.name]
    elif loss.name in OURS and {name for name, _ in loss.parameters} <= {"radius", "volumes"}:
        radius = loss.settings.get("radius")
        if radius is None:
            return OURS[loss.name]
        image = "_image" if loss.settings.get("volumes", "batch") == "image" else ""
        number = f"{radius:.12g}"
        # Others are written as any loss: inf, 1e-05.
        if re.fullmatch(r"\d+(\.\d+)?", number) and float(number) == radius:
            return f"{OURS[loss.name]}_R{number}{image}"
    name = OTHERS + str(loss).replace(":", "@")
    # nnU-Net tells trainer, plans and configuration apart by two underscores.
    if not re.fullmatch(r"[\w.@=,+-]{1,150}", name) or "__" in name or loss_of(name) != loss:
        raise ValueError(
            "nnU-Net has a folder by the name of the trainer, and this cannot stand in "
            "one; expected letters, numbers and single underscores, and at most 130 of them"
        )
    return name


def loss_of(name: str) -> LossSpec:
    """The loss of a trainer's name that begins with `OTHERS`.

    Examples:
        >>> str(loss_of("nnUNetTrainerLoss_tversky@alpha=0.4"))
        'tversky:alpha=0.4'
    """
    return parse_loss(name.removeprefix(OTHERS).replace("@", ":"))
