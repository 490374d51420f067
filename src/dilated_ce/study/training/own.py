"""What users name as `module:name:parameter=value`: finding it, its parameters, its mistakes."""

import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dilated_ce.study import yaml_text

ANY = (Exception, SystemExit)  # that code of one's own may raise
OURS = Path(__file__).parent
AT_COMMAS = re.compile(r",(?![^\[\]]*\])")  # but not in brackets


def find(what: str, name: str) -> Callable[..., Any]:
    """The class or function that `module:name` names.

    Args:
        what: for messages, such as "loss".
        name: such as "torch.nn:CrossEntropyLoss".

    Raises:
        ValueError: it cannot be imported, or is nothing to call; the message names the line.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ANY as error:
        raise ValueError(f"{what} {name!r} cannot be imported: {explain(error)}") from error
    if not callable(found):
        raise ValueError(f"{what} {name!r}: got a {type(found).__name__}, expected a class")
    return found


def file_of(found: Callable[..., Any]) -> Path | None:
    """The Python file in which something is defined; None for binaries."""
    try:
        path = inspect.getsourcefile(found)
    except TypeError:
        return None
    return Path(path) if path else None


def explain(error: BaseException) -> str:
    """What went wrong in one's own file, and where: `my.py line 3: ValueError: too large`."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or 'it').name} line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        f for f in frames if Path(f.filename).parent != OURS and "importlib" not in f.filename
    ]
    what = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
    if theirs:
        return f"{Path(theirs[0].filename).name} line {theirs[0].lineno}: {what}"
    if isinstance(error, ImportError | AttributeError):
        return f"{error}. Is its folder on PYTHONPATH?"
    return what


def parameters_of(
    subject: str, values: str, signature: Mapping[str, inspect.Parameter]
) -> dict[str, str]:
    """The texts of `name=value,name=value`; lists in brackets hold commas of their own.

    Args:
        subject: for messages, such as "loss 'dbce'".
        values: what the user wrote.
        signature: the parameters that there are.

    Raises:
        ValueError: no such parameter, or one that is given twice.

    Examples:
        >>> signature = inspect.signature(lambda depths, bias: None)
        >>> parameters_of("it", "depths=[1,2],bias=true", signature.parameters)
        {'depths': '[1,2]', 'bias': 'true'}
    """
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    named = [key for key, p in signature.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    found: dict[str, str] = {}
    for part in filter(None, AT_COMMAS.split(values)):
        key, equals, value = part.partition("=")
        if not equals or (key not in named and not open_ended):
            known = ", ".join(f"{name}=..." for name in named) or "no parameters"
            raise ValueError(f"{subject}: got {part!r}, expected {known}.")
        if key in found:
            raise ValueError(f"{subject}: {key} is given twice.")
        found[key] = value
    return found


def value_of(subject: str, key: str, text: str) -> Any:
    """A number, true, a list or text, as YAML has them."""
    for number in (int, float):  # for YAML inf is text
        try:
            return number(text)
        except ValueError:
            pass
    return yaml_text.load(text, f"{subject}: '{key}={text}'")
