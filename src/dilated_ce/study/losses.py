"""The losses that can be compared, by name, and the grammar that names them with parameters.

ce      dbce:radius=2      dbce-dice:radius=2,balance=image
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from dilated_ce import DilatedBalancedCELoss

# Every loss takes logits (B, C, *spatial) and integer targets (B, 1, *spatial).
DICE = {"to_onehot_y": True, "softmax": True}


def ce() -> nn.Module:
    """PyTorch's own cross entropy."""
    return PlainCELoss()


def balanced_ce() -> nn.Module:
    """Cross entropy weighted by inverse class frequencies: the radius 0."""
    return DilatedBalancedCELoss(0)


def dbce(radius: float, balance: str = "batch", overlap: str = "sum") -> nn.Module:
    """Dilated balanced cross entropy."""
    return DilatedBalancedCELoss(radius, balance=balance, overlap=overlap)


def dice_ce() -> nn.Module:
    """MONAI's DiceCELoss with its defaults, softmax over the classes."""
    return DiceCELoss(**DICE)


def dbce_dice(radius: float, balance: str = "batch", overlap: str = "sum") -> nn.Module:
    """MONAI's DiceLoss + DBCE, one to one: `dice-ce` with its CE replaced."""
    return SumLoss(DiceLoss(**DICE), dbce(radius, balance, overlap))


class PlainCELoss(nn.CrossEntropyLoss):
    """`nn.CrossEntropyLoss` for targets with a channel axis."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, 1, *spatial)."""
        return super().forward(logits, target[:, 0].long())


class SumLoss(nn.Module):
    """The sum of two losses."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both losses of `logits` against `target`."""
        total: Tensor = self.first(logits, target) + self.second(logits, target)
        return total


LOSSES: dict[str, tuple[str, Callable[..., nn.Module]]] = {
    "ce": ("CE", ce),
    "balanced-ce": ("Balanced CE", balanced_ce),
    "dbce": ("DBCE", dbce),
    "dice-ce": ("Dice + CE", dice_ce),
    "dbce-dice": ("Dice + DBCE", dbce_dice),
}


@dataclass(frozen=True)
class LossSpec:
    """A loss by name with those of its parameters that differ from their defaults."""

    name: str
    parameters: tuple[tuple[str, float | str], ...] = ()

    def __str__(self) -> str:
        values = ",".join(f"{key}={_plain(value)}" for key, value in self.parameters)
        return f"{self.name}:{values}" if values else self.name

    @property
    def title(self) -> str:
        """The name for people: `DBCE (R = 2)`."""
        shown = [
            f"R = {_plain(value)}" if key == "radius" else f"{key} = {value}"
            for key, value in self.parameters
        ]
        title = LOSSES[self.name][0]
        return f"{title} ({', '.join(shown)})" if shown else title

    @property
    def settings(self) -> dict[str, float | str]:
        """All parameters by name, defaults too; the radius of CE and balanced CE as what it is."""
        signature = inspect.signature(LOSSES[self.name][1]).parameters
        defaults = {key: p.default for key, p in signature.items() if p.default is not p.empty}
        implied = {"ce": {"radius": math.inf}, "balanced-ce": {"radius": 0.0}}
        return {**implied.get(self.name, {}), **defaults, **dict(self.parameters)}

    @property
    def slug(self) -> str:
        """The name as part of a path: `dbce-radius2`."""
        return str(self).replace(":", "-").replace(",", "-").replace("=", "")

    def build(self) -> nn.Module:
        """The loss as a module."""
        return LOSSES[self.name][1](**dict(self.parameters))


def parse_loss(text: str) -> LossSpec:
    """Parse one loss, such as `dbce:radius=2,balance=image`, and build it once to check it.

    Raises:
        ValueError: an unknown loss or parameter, or a value that the loss does not take.

    Example:
        >>> parse_loss("dbce:radius=2").title
        'DBCE (R = 2)'
    """
    name, _, values = text.strip().partition(":")
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; expected one of {', '.join(LOSSES)}.")
    signature = inspect.signature(LOSSES[name][1]).parameters
    parameters: dict[str, Any] = {}
    for part in filter(None, values.split(",")):
        key, equals, value = part.partition("=")
        if key not in signature or not equals:
            known = ", ".join(f"{parameter}=..." for parameter in signature) or "no parameters"
            raise ValueError(f"loss {name!r}: got {part!r}, expected {known}.")
        if key in parameters:
            raise ValueError(f"loss {name!r}: {key} is given twice.")
        parameters[key] = _number(name, part, value) if key == "radius" else value
    missing = [
        key for key, p in signature.items() if p.default is p.empty and key not in parameters
    ]
    if missing:
        raise ValueError(f"loss {name!r}: {missing[0]} is missing; write {name}:{missing[0]}=...")
    spec = LossSpec(
        name,
        tuple(
            (key, parameters[key])
            for key, parameter in signature.items()
            if key in parameters and parameters[key] != parameter.default
        ),
    )
    try:
        spec.build()
    except ValueError as error:
        raise ValueError(f"loss {str(spec)!r}: {error}") from error
    return spec


def parse_losses(text: str) -> tuple[LossSpec, ...]:
    """Parse a list such as `ce,dbce:radius=2,balance=image,dice-ce`.

    A part that holds "=" but names no loss belongs to the loss before it.

    Raises:
        ValueError: as `parse_loss`, or an empty list.

    Example:
        >>> [str(spec) for spec in parse_losses("ce,dbce:radius=2,balance=image")]
        ['ce', 'dbce:radius=2,balance=image']
    """
    entries: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if entries and "=" in part and ":" not in part:
            entries[-1] += ("," if ":" in entries[-1] else ":") + part
        else:
            entries.append(part)
    if not entries:
        raise ValueError("the list of losses is empty; name at least one, such as ce.")
    return tuple(parse_loss(entry) for entry in entries)


def _number(name: str, part: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(
            f"loss {name!r}: got {part!r}, expected a number after '=' (inf for infinity)."
        ) from None


def _plain(value: float | str) -> str:
    """2.0 as '2', and any other number so that it can be read back."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
