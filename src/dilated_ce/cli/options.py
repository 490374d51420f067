"""From the options of `dilated-ce compare` to its settings."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dilated_ce.cli.nnunet_options import folds_of, for_trainer

if TYPE_CHECKING:
    from dilated_ce.study.settings.compare import CompareConfig, NnunetCompareConfig

# Those of the study, which takes seconds to import: too long for a shell that completes a word.
LOSS_NAMES = (
    *("ce", "balanced-ce", "dice", "dice-ce", "dbce:radius=", "dbce-dice:radius="),
    *("adaptive-dbce", "adaptive-dbce-dice"),
    *("focal", "dice-focal", "generalised-dice", "tversky", "top-k", "dice-top-k", "lovasz"),
    *("unified-focal", "dice-cldice", "dice-boundary", "dice-hausdorff-dt"),
)
NETWORK_NAMES = (
    *("unet", "dynunet", "segresnet", "AttentionUnet", "BasicUNetPlusPlus", "SwinUNETR", "UNETR"),
    "smp:",
)


def a_path(text: str) -> Path:
    """A path; the empty text, of a variable that is not set, is none."""
    if not text:
        raise typer.BadParameter("got nothing, expected a path.")
    return Path(text)


def one_of(*values: str) -> Callable[[str], list[str]]:
    """What a shell offers for an option with these values."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def complete_losses(incomplete: str) -> list[str]:
    """What a shell offers for the last of a list of losses."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in LOSS_NAMES if name.startswith(last)]


def configure(
    path: Path | None, options: dict[str, Any], others: list[str]
) -> "CompareConfig | NnunetCompareConfig":
    """The settings of the file, overlaid with the options."""
    from dilated_ce.study import yaml_text
    from dilated_ce.study.settings.file import gather, gather_nnunet, read_settings

    for text in others:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"got {text!r}, expected NAME=VALUE.", param_hint="--set")
        try:
            options[name] = yaml_text.load(value, f"{name}={value:.40}")
        except yaml_text.YamlError as error:
            raise typer.BadParameter(str(error), param_hint="--set") from None
    of_file = read_settings(path).get("trainer") if path else None
    nnunet = (options["trainer"] or of_file) == "nnunet"
    if isinstance(options["data.folds"], str):
        options["data.folds"] = folds_of(options["data.folds"], nnunet)
    options = for_trainer(options, nnunet)
    if isinstance(options["losses"], str):
        from dilated_ce.study.training.loss_spec import parse_losses

        try:
            options["losses"] = parse_losses(options["losses"])
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--losses") from None
    return gather_nnunet(path, options) if nnunet else gather(path, options)


def numbers(option: str, text: str | None) -> list[float] | None:
    """The numbers of a list with commas, or with an x between sides; whole ones as int."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"got {text!r}, expected numbers with commas.", param_hint=option
        ) from None
    return [int(number) if number.is_integer() else number for number in numbers]


def dimensions(text: str | None) -> int | str | None:
    """Of the patches: 2, 3 or auto."""
    if text not in (None, "2", "3", "auto"):
        raise typer.BadParameter(f"got {text!r}, expected 2, 3 or auto.", param_hint="--dims")
    return int(text) if text in ("2", "3") else text


def classes(text: str | None) -> dict[str, int | str] | None:
    """Names of classes with their values, of `background=0,polyp=255`."""
    if text is None:
        return None
    classes: dict[str, int | str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().rpartition("=")
        if not equals or not name:
            raise typer.BadParameter(
                f"got {part!r}, expected NAME=VALUE.", param_hint="--mask-classes"
            )
        classes[name] = value_of_mask(value)
    return classes


def value_of_mask(text: str) -> int | str:
    """A grey value or palette index as a number, a colour as it is."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def tuning(text: str | None) -> dict[str, Any] | None:
    """The settings of a search, of `lr`."""
    if text not in (None, "lr"):
        raise typer.BadParameter(f"got {text!r}, expected lr.", param_hint="--tune")
    return {} if text else None
