"""YAML from people: no aliases, no tags of Python, no key twice, and neither long nor deep.

Aliases can make a small file huge, and nesting takes PyYAML quadratic time. Nothing here needs
either. A key given twice is a mistake that YAML itself forbids and PyYAML passes over.
"""

from typing import Any

import yaml

MOST_CHARACTERS = 1_000_000
MOST_LEVELS = 20


class _Loader(yaml.SafeLoader):
    """A loader that stops where a text becomes too deep, before it is read on."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        start = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise _error("aliases (*name) are not taken here; write the value out", start)
        if self.level == MOST_LEVELS:
            raise _error(f"it is nested too deeply, in more than {MOST_LEVELS} levels", start)
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise _error(f"the key {key.value!r} is there twice", key.start_mark)
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return node


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text, with their lines; None for an empty one.

    Raises:
        yaml.MarkedYAMLError: with the problem, and where it is.

    Examples:
        >>> compose("a: [*b]")
        Traceback (most recent call last):
        yaml.error.MarkedYAMLError: aliases (*name) are not taken here; write the value out
          in "<unicode string>", line 1, column 5:
            a: [*b]
                ^
    """
    if len(text) > MOST_CHARACTERS:
        raise _error(f"got {len(text):,} characters, expected at most {MOST_CHARACTERS:,}")
    try:
        return _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        raise _error(f"it holds a character that YAML does not allow ({error.reason})") from error


def construct(node: yaml.Node) -> Any:
    """What a node stands for.

    Raises:
        yaml.MarkedYAMLError: a tag that is not known, or a value that its tag does not take.
    """
    try:
        return _Loader("").construct_document(node)
    except (ValueError, ArithmeticError, TypeError, AttributeError) as error:  # such as 2020-99-99
        raise _error(f"a value cannot be read: {error}", node.start_mark) from error


def load(text: str) -> Any:
    """What a text stands for; None for an empty one.

    Raises:
        yaml.MarkedYAMLError: as `compose` and `construct`.

    Examples:
        >>> load("train: [a, b]")
        {'train': ['a', 'b']}
    """
    node = compose(text)
    return None if node is None else construct(node)


def explain(where: object, error: yaml.YAMLError) -> str:
    """A line that names the file or the option, the place in it, and the problem.

    Examples:
        >>> try:
        ...     load("a: [")
        ... except yaml.YAMLError as error:
        ...     explain("compare.yaml", error)
        "compare.yaml, line 1: is no YAML: expected the node content, but found '<stream end>'"
    """
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"{where}{f', line {mark.line + 1}' if mark else ''}: is no YAML: {problem}"


def _error(problem: str, mark: yaml.Mark | None = None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
