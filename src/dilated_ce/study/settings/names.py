"""The short names of settings: what the command line and Python call them, and where they are."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from dilated_ce.study.data.reading import DataConfig
from dilated_ce.study.nnunet.settings import NnunetConfig
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.settings.compare import CompareConfig, NnunetCompareConfig
from dilated_ce.study.settings.report import ReportConfig
from dilated_ce.study.statistics.settings import StatisticsConfig
from dilated_ce.study.training.settings import TrainingConfig

SECTIONS: dict[str, type[BaseModel]] = {
    "data": DataConfig,
    "training": TrainingConfig,
    "scoring": ScoringConfig,
    "statistics": StatisticsConfig,
    "execution": ExecutionConfig,
}
# Every other setting is called what it is called in its section.
SHORT = {
    **{"data": "data.path", "split": "data.split_file", "lr": "training.learning_rate"},
    "logger": "loggers",
}
NAMES = {
    **{name: name for name in CompareConfig.model_fields},
    **{
        field: f"{name}.{field}" for name, model in SECTIONS.items() for field in model.model_fields
    },
    **SHORT,
}
# With nnU-Net as the trainer its plans decide on data and training.
OF_NNUNET = {
    **{name: name for name in NnunetCompareConfig.model_fields},
    **{
        field: f"{name}.{field}"
        for name in ("scoring", "statistics", "execution")
        for field in SECTIONS[name].model_fields
    },
    **{field: f"nnunet.{field}" for field in NnunetConfig.model_fields},
}
OF_REPORT = {
    **{name: name for name in ReportConfig.model_fields if name not in ("results", "predictions")},
    **{field: f"scoring.{field}" for field in ScoringConfig.model_fields},
    **{"column": "columns", "metric": "metrics"},
}


def dotted(options: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> dict[str, Any]:
    """Options by dotted name, as `settings.file.gather` takes them.

    A section may be given as a whole, as in the file; what is given by its own name wins.

    Args:
        options: by short name; None says nothing.
        names: the short names, `NAMES` or `OF_NNUNET`.

    Raises:
        TypeError: a name that is no setting, with the nearest that is.

    Examples:
        >>> dotted({"data": "images", "lr": 0.1, "training": {"optimizer": "sgd"}})
        {'training.optimizer': 'sgd', 'data.path': 'images', 'training.learning_rate': 0.1}
    """
    found: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for name, value in options.items():
        if name not in names:
            if value is None:
                continue
            raise TypeError(no_setting(name, names))
        if isinstance(value, Mapping) and name in (*SECTIONS, "nnunet"):
            found |= {f"{name}.{field}": part for field, part in value.items()}
        else:
            if names[name] in own:
                raise TypeError(f"{name} and another name of {names[name]} are both given")
            own[names[name]] = value
    return found | own


def of_report(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a report as `ReportConfig` has them; None says nothing.

    Raises:
        TypeError: a name that is no setting, with the nearest that is.

    Examples:
        >>> of_report({"metric": ["dice"], "tolerance": 1, "name": None})
        {'metrics': ['dice'], 'scoring': {'tolerance': 1}}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OF_REPORT:
            raise TypeError(no_setting(name, OF_REPORT))
        if value is None:
            continue
        section, _, field = OF_REPORT[name].rpartition(".")
        if section:
            found[section] = {**found.get(section, {}), field: value}
        else:
            found[field] = value
    return found


def no_setting(name: str, known: Mapping[str, Any]) -> str:
    """What to say of a name that is none of the known ones."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"got {name}, which is no setting; {hint}"
