"""YAML 1.2 from people, by ruamel.yaml: its values, and its nodes, which know their lines.

Aliases can make a small file huge, and nothing here needs them, or a nesting of many levels. Both
are errors before anything is built.
"""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import Node

MOST_CHARACTERS = 1_000_000
MOST_LEVELS = 20


class YamlError(ValueError):
    """A text that is no YAML, or none that is taken here; the message names the line."""


def load(text: str, where: object) -> Any:
    """What a text stands for; None for an empty one.

    Args:
        text: YAML.
        where: the file or option that it is from, for messages.

    Raises:
        YamlError: with the place, the line and the problem.

    Examples:
        >>> load("train: [a, b]", "split.yaml")
        {'train': ['a', 'b']}
        >>> load("a: [", "split.yaml")
        Traceback (most recent call last):
        dilated_ce.study.yaml_text.YamlError: split.yaml, line 1: is no YAML: expected the node \
content, but found '<stream end>'
        >>> load("a: [*b]", "split.yaml")
        Traceback (most recent call last):
        dilated_ce.study.yaml_text.YamlError: split.yaml, line 1: is no YAML: aliases (*name) are \
not taken here; write the value out
    """
    _check(text, where)
    try:
        return _reader().load(text)
    except YAMLError as error:
        raise _explained(where, error) from error
    except (ValueError, ArithmeticError, TypeError, AttributeError, KeyError) as error:
        # Of values such as 2020-99-99; which one it is, the error does not know.
        raise YamlError(f"{where}: is no YAML: a value cannot be read: {error}") from error


def nodes(text: str, where: object) -> Node | None:
    """The same as nodes, whose `start_mark.line` counts from 0; None for an empty text."""
    _check(text, where)
    try:
        return _reader().compose(text)
    except YAMLError as error:
        raise _explained(where, error) from error


def _reader() -> YAML:
    return YAML(typ="safe", pure=True)


def _check(text: str, where: object) -> None:
    """Stop where a text becomes too long, too deep or has an alias, before it is read on."""
    if len(text) > MOST_CHARACTERS:
        raise YamlError(
            f"{where}: is no YAML: got {len(text):,} characters, expected at most "
            f"{MOST_CHARACTERS:,}"
        )
    level = 0
    try:
        for event in _reader().parse(text):
            level += isinstance(event, CollectionStartEvent)
            level -= isinstance(event, CollectionEndEvent)
            problem = ""
            if isinstance(event, AliasEvent):
                problem = "aliases (*name) are not taken here; write the value out"
            elif level > MOST_LEVELS:
                problem = f"it is nested too deeply, in more than {MOST_LEVELS} levels"
            if problem:
                line = event.start_mark.line + 1
                raise YamlError(f"{where}, line {line}: is no YAML: {problem}")
    except YAMLError as error:
        raise _explained(where, error) from error


def _explained(where: object, error: YAMLError) -> YamlError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line = f", line {mark.line + 1}" if mark else ""
    return YamlError(f"{where}{line}: is no YAML: {' '.join(str(problem).split())}")
