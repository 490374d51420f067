"""The grammar that names a loss with its parameters.

ce   adaptive-dbce   dbce:radius=2   dbce-dice:radius=2,volumes=image   my_module:MyLoss:alpha=0.3
ce:weight=1:5:5   (one number per class)
"""

import difflib
import importlib
import inspect
import math
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dilated_ce.study import yaml_text
from dilated_ce.study.training.loss_parts import IndexLoss, Setting
from dilated_ce.study.training.losses import LOSSES, Weights

ANY = (Exception, SystemExit)  # that a loss of one's own may raise


@dataclass(frozen=True)
class LossSpec:
    """A loss by name with its radius, if it has one, and what else differs from the defaults."""

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        values = ",".join(f"{key}={_plain(value)}" for key, value in self.parameters)
        return f"{self.name}:{values}" if values else self.name

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
        loss = _import(self.name)(**parameters)
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
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    parameters: dict[str, Any] = {}
    for part in filter(None, values.split(",")):
        key, equals, value = part.partition("=")
        if not equals or (key not in signature and not open_ended):
            known = ", ".join(f"{parameter}=..." for parameter in signature) or "no parameters"
            raise ValueError(f"loss {name!r}: got {part!r}, expected {known}.")
        if key in parameters:
            raise ValueError(f"loss {name!r}: {key} is given twice.")
        parameters[key] = _value(name, part, value, signature.get(key))
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
        text = str(error) if name in LOSSES else _explain(error)
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
    for part in filter(None, (part.strip() for part in text.split(","))):
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


def _import(name: str) -> Callable[..., nn.Module]:
    """The class that `module:Class` names."""
    module, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), class_name)
    except ANY as error:
        raise ValueError(f"loss {name!r} cannot be imported: {_explain(error)}") from error
    if not callable(found):
        raise ValueError(f"loss {name!r}: got a {type(found).__name__}, expected a class")
    return found


def source_file(name: str) -> Path | None:
    """The Python file that a loss of the user's is defined in; None for ours, and for binaries."""
    if name in LOSSES:
        return None
    try:
        path = inspect.getsourcefile(_import(name))
    except TypeError:
        return None
    return Path(path) if path else None


def _explain(error: BaseException) -> str:
    """What went wrong in one's own file, and where: `my.py line 3: ValueError: too large`."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or 'it').name} line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    what = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
    if theirs:
        return f"{Path(theirs[0].filename).name} line {theirs[0].lineno}: {what}"
    if isinstance(error, ImportError | AttributeError):
        return f"{error}. Is its folder on PYTHONPATH?"
    return what


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters that a loss takes from the user."""
    maker = LOSSES[name][1] if name in LOSSES else _import(name)
    parameters = inspect.signature(maker).parameters
    return {key: p for key, p in parameters.items() if key != "setting" or name not in LOSSES}


def _defaults(name: str) -> dict[str, Any]:
    """The parameters that have a default."""
    return {key: p.default for key, p in _parameters(name).items() if p.default is not p.empty}


def _value(name: str, part: str, text: str, parameter: inspect.Parameter | None) -> Any:
    """A number where a loss of ours wants one; else a number, true or text, as YAML has them."""
    if name not in LOSSES:
        for number in (int, float):  # for YAML inf is text
            try:
                return number(text)
            except ValueError:
                pass
        return yaml_text.load(text, f"loss {name!r}: {part!r}")
    wanted = parameter.annotation if parameter is not None else float
    if wanted is str:
        return text
    if wanted == Weights:
        try:
            return tuple(float(number) for number in text.split(":"))
        except ValueError:
            raise ValueError(
                f"loss {name!r}: got {part!r}, expected a number for each class with colons "
                f"between them, the background first, such as {part.partition('=')[0]}=1:5:5."
            ) from None
    try:
        return float(text)
    except ValueError:
        if wanted is not float:  # a number or a word: the loss knows which words
            return text
        raise ValueError(
            f"loss {name!r}: got {part!r}, expected a number after '=' (inf for infinity)."
        ) from None


def _plain(value: object) -> str:
    """2.0 as '2', and any other number so that it can be read back; several with colons."""
    if isinstance(value, tuple):
        return ":".join(map(_plain, value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
