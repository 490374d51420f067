"""The grammar that names a loss with its parameters.

ce   adaptive-dbce   dbce:radius=2   dbce-dice:radius=2,volumes=image   my_module:MyLoss:alpha=0.3
ce:weight=1:5:5   (one number per class)
"""

import difflib
import inspect
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dilated_ce.study.training.loss_parts import IndexLoss, Setting
from dilated_ce.study.training.losses import LOSSES, Weights
from dilated_ce.study.training.own import (
    ANY,
    AT_COMMAS,
    explain,
    file_of,
    find,
    parameters_of,
    value_of,
)


@dataclass(frozen=True)
class LossSpec:
    """A loss by name with its radius, if it has one, and what else differs from the defaults."""

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        values = ",".join(f"{key}={self._written(value)}" for key, value in self.parameters)
        return f"{self.name}:{values}" if values else self.name

    def _written(self, value: object) -> str:
        own_list = isinstance(value, tuple) and self.name not in LOSSES
        return _plain(list(value) if own_list else value)  # type: ignore[call-overload]

    @property
    def title(self) -> str:
        """The name for people: `DBCE (R = 2)`."""
        shown = [
            f"R = {_plain(value)}" if key == "radius" else f"{key} = {_plain(value)}"
            for key, value in self.parameters
        ]
        title = LOSSES[self.name][0] if self.name in LOSSES else self.name.rpartition(":")[2]
        return f"{title} ({', '.join(shown)})" if shown else title

    @property
    def settings(self) -> dict[str, Any]:
        """All parameters by name, defaults too; the radius of CE and balanced CE as what it is."""
        if self.name not in LOSSES:
            return dict(self.parameters)
        implied = {"ce": {"radius": math.inf}, "balanced-ce": {"radius": 0.0}}
        parameters = dict(self.parameters)
        return {**implied.get(self.name, {}), **_defaults(self.name), **parameters}

    @property
    def slug(self) -> str:
        """The name as part of a path: `dbce-radius2`."""
        return re.sub(r"[^\w.+-]", "-", str(self).replace("=", ""))

    def build(self, setting: Setting | None = None) -> nn.Module:
        """The loss as a module.

        Raises:
            ValueError: a loss that takes no ignored voxels, for data that have some, or none that
                overlap.
        """
        parameters = dict(self.parameters)
        if self.name in LOSSES:
            return LOSSES[self.name][1](setting or Setting(), **parameters)
        if setting and setting.ignore_index is not None and "ignore_index" not in parameters:
            raise ValueError(
                f"these data have ignored voxels, labelled {setting.ignore_index}; if the loss can "
                f"leave them out, say so: "
                f"{self}{',' if parameters else ':'}ignore_index={setting.ignore_index}"
            )
        lists = {key: list(v) for key, v in parameters.items() if isinstance(v, tuple)}
        loss = find("loss", self.name)(**{**parameters, **lists})
        if getattr(type(loss), "forward", None) is not nn.CrossEntropyLoss.forward:
            return loss
        if setting and setting.overlapping:
            raise ValueError("is for classes that do not overlap, as these do: BCEWithLogitsLoss")
        return IndexLoss(loss)


def parse_loss(text: str) -> LossSpec:
    """Parse one loss, such as `dbce:radius=2,volumes=image`, and build it once to check it.

    Raises:
        ValueError: an unknown loss or parameter, or a value that the loss does not take.

    Examples:
        >>> parse_loss("dbce:radius=2").title
        'DBCE (R = 2)'
        >>> str(parse_loss("adaptive-dbce"))
        'adaptive-dbce'
    """
    name, values = _name_and_values(text.strip())
    signature = _parameters(name)
    texts = parameters_of(f"loss {name!r}", values, signature)
    parameters = {key: _value(name, key, text, signature.get(key)) for key, text in texts.items()}
    defaults = _defaults(name)
    missing = [
        key
        for key, p in signature.items()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and key not in parameters
    ]
    if missing:
        raise ValueError(f"loss {name!r}: {missing[0]} is missing; write {name}:{missing[0]}=...")
    spec = LossSpec(
        name,
        tuple(
            (key, parameters[key])
            for key in sorted(parameters, key=[*signature, *parameters].index)
            if key == "radius" or key not in defaults or parameters[key] != defaults[key]
        ),
    )
    expected = (ValueError, TypeError) if name in LOSSES else ANY
    try:
        built = spec.build()
    except expected as error:
        text = str(error) if name in LOSSES else explain(error)
        raise ValueError(f"loss {str(spec)!r}: {text}") from error
    if not isinstance(built, nn.Module):
        raise ValueError(f"loss {str(spec)!r}: got a {type(built).__name__}, expected an nn.Module")
    return spec


def parse_losses(text: str) -> tuple[LossSpec, ...]:
    """Parse a list such as `ce,dbce:radius=2,volumes=image,dice-ce`.

    A part such as `volumes=image`, which names no loss, belongs to the loss before it.

    Raises:
        ValueError: as `parse_loss`, or an empty list.

    Examples:
        >>> [str(spec) for spec in parse_losses("ce,dbce:radius=2,volumes=image")]
        ['ce', 'dbce:radius=2,volumes=image']
    """
    entries: list[str] = []
    for part in filter(None, (part.strip() for part in AT_COMMAS.split(text))):
        if entries and re.match(r"\w+=", part):
            entries[-1] += ("," if ":" in entries[-1] else ":") + part
        else:
            entries.append(part)
    if not entries:
        raise ValueError("the list of losses is empty; name at least one, such as ce.")
    return tuple(parse_loss(entry) for entry in entries)


def _name_and_values(text: str) -> tuple[str, str]:
    name, _, values = text.partition(":")
    if name in LOSSES:
        return name, values
    class_name, _, parameters = values.partition(":")
    if class_name.isidentifier():
        return f"{name}:{class_name}", parameters
    meant = name.lower()
    combined = [known for known in LOSSES if meant in (known, known.removeprefix("dice-"))]
    close = combined or difflib.get_close_matches(meant, LOSSES, 1)
    raise ValueError(
        f"unknown loss {name!r}; expected one of {', '.join(LOSSES)}, or module:Class for your own."
        f"{f' Did you mean {close[0]}?' if close else ''}"
    )


def source_file(name: str) -> Path | None:
    """The Python file that a loss of the user's is defined in; None for ours, and for binaries."""
    return None if name in LOSSES else file_of(find("loss", name))


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters that a loss takes from the user."""
    maker = LOSSES[name][1] if name in LOSSES else find("loss", name)
    parameters = inspect.signature(maker).parameters
    return {key: p for key, p in parameters.items() if key != "setting" or name not in LOSSES}


def _defaults(name: str) -> dict[str, Any]:
    """The parameters that have a default."""
    return {key: p.default for key, p in _parameters(name).items() if p.default is not p.empty}


def _value(name: str, key: str, text: str, parameter: inspect.Parameter | None) -> Any:
    """A number where a loss of ours wants one; else a number, true or text, as YAML has them."""
    if name not in LOSSES:
        value = value_of(f"loss {name!r}", key, text)
        return tuple(value) if isinstance(value, list) else value
    wanted = parameter.annotation if parameter is not None else float
    if wanted is str:
        return text
    if wanted == Weights:
        try:
            return tuple(float(number) for number in text.split(":"))
        except ValueError:
            raise ValueError(
                f"loss {name!r}: got '{key}={text}', expected a number for each class with colons "
                f"between them, the background first, such as {key}=1:5:5."
            ) from None
    try:
        return float(text)
    except ValueError:
        if wanted is not float:  # a number or a word: the loss knows which words
            return text
        raise ValueError(
            f"loss {name!r}: got '{key}={text}', expected a number after '=' (inf for infinity)."
        ) from None


def _plain(value: object) -> str:
    """2.0 as '2', and any other number so that it can be read back; weights with colons."""
    if isinstance(value, tuple):
        return ":".join(map(_plain, value))
    if isinstance(value, list):
        return f"[{','.join(map(_plain, value))}]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
