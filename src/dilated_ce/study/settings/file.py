"""Settings in YAML: reading them, and naming the line of each mistake."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from dilated_ce.study import yaml_text
from dilated_ce.study.defaults import DEFAULT_LOSSES, DEFAULT_LOSSES_OF_NNUNET, folder_for
from dilated_ce.study.settings.compare import (
    CompareConfig,
    NnunetCompareConfig,
    SettingsError,
)
from dilated_ce.study.settings.report import ReportConfig
from dilated_ce.study.training.loss_spec import parse_losses

Config = TypeVar("Config", bound=BaseModel)
MOST_PROBLEMS = 20  # that are listed


def read_settings(path: Path) -> dict[str, Any]:
    """The contents of a YAML file, as nested dictionaries.

    Raises:
        SettingsError: a file that cannot be read, is no YAML, or holds no mapping.
    """
    text = _text_of(path)
    try:
        contents = yaml_text.load(text, path)
    except yaml_text.YamlError as error:
        raise SettingsError(str(error)) from error
    if not isinstance(contents, dict):
        raise SettingsError(f"{path}: expected a mapping such as `losses: [ce, dice-ce]`.")
    return contents


def _text_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(yaml_text.MOST_CHARACTERS + 1)
    except IsADirectoryError as error:
        raise SettingsError(f"{path} is a folder; for data write --data {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def gather(path: Path | None, options: Mapping[str, Any]) -> CompareConfig:
    """The settings of a file, if there is one, overlaid with options; what is left open is usual.

    Args:
        path: a YAML file.
        options: values by dotted name, such as `training.steps`; None says nothing.

    Raises:
        SettingsError: with every problem, a line each.
    """
    values = read_settings(path) if path else {}
    for name, value in options.items():
        if value is not None:
            _overlay(values, name, value)
    if values.get("losses") is None:
        values["losses"] = parse_losses(DEFAULT_LOSSES)
    if values.get("data") is None:
        raise SettingsError("data.path is missing; name a folder of data (--data).")
    if "out" not in values:
        data = values["data"]
        values["out"] = folder_for(data.get("path") if isinstance(data, dict) else None)
    return build_config(values, path)


def gather_nnunet(path: Path | None, options: Mapping[str, Any]) -> NnunetCompareConfig:
    """The settings of a comparison in nnU-Net; see `gather`."""
    values = read_settings(path) if path else {}
    for name, value in options.items():
        if value is not None:
            _overlay(values, name, value)
    if values.get("losses") is None:
        values["losses"] = parse_losses(DEFAULT_LOSSES_OF_NNUNET)
    theirs = values.get("nnunet")
    if not isinstance(theirs, dict) or theirs.get("dataset") is None:
        raise SettingsError("nnunet.dataset is missing; name nnU-Net's data set with --dataset.")
    values.setdefault("out", Path("runs") / f"nnunet-{theirs['dataset']}")
    return build_nnunet_config(values, path)


def _overlay(values: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[last] = value


def build_config(values: dict[str, Any], path: Path | None = None) -> CompareConfig:
    """Validate settings.

    Args:
        values: nested dictionaries, as of a YAML file, with the options of the command line.
        path: the file that (some of) them come from; messages name its lines.

    Raises:
        SettingsError: with every problem, a line each.
    """
    return _build(CompareConfig, values, path)


def build_nnunet_config(values: dict[str, Any], path: Path | None = None) -> NnunetCompareConfig:
    """Validate settings with `trainer: nnunet`; see `build_config`."""
    return _build(NnunetCompareConfig, values, path)


def build_report_config(values: dict[str, Any]) -> ReportConfig:
    """Validate what a report is made of; see `build_config`."""
    return _build(ReportConfig, values, None)


def _build(model: type[Config], values: dict[str, Any], path: Path | None) -> Config:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        node = yaml_text.nodes(_text_of(path), path) if path else None
        problems = [_problem(p, path, node, model) for p in error.errors()[:MOST_PROBLEMS]]
        if error.error_count() > MOST_PROBLEMS:
            problems.append(f"... and {error.error_count() - MOST_PROBLEMS} more")
    raise SettingsError("\n".join(dict.fromkeys(problems)))


def _problem(problem: Any, path: Path | None, node: Node | None, config: type[BaseModel]) -> str:
    location = tuple(part for part in problem["loc"] if not str(part).startswith("function-"))
    name = ".".join(map(str, location))
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if problem["type"] == "extra_forbidden":
        message = f"is no setting; expected one of {', '.join(_fields_at(location[:-1], config))}"
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] != "value_error":
        message = f"got {problem['input']!r:.200}. {message}"
    line = _line_of(node, location)
    where = f"{path}, line {line}: " if line else ""
    return f"{where}{name}: {message}" if name else f"{where}{message}"


def _fields_at(location: tuple[Any, ...], config: type[BaseModel]) -> list[str]:
    model: Any = config
    for part in location:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


def _line_of(node: Node | None, location: tuple[Any, ...]) -> int | None:
    """The line, from 1, that sets the value at `location`; None if the file does not set it."""
    line = None
    for part in location:
        if isinstance(node, MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                return None
            line, node = found[-1][0].start_mark.line + 1, found[-1][1]
        elif isinstance(node, SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
