"""The study from Python: `compare` with the names of the command line, and what comes of it.

Light until it is called: what a study needs takes seconds to import.
"""

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dilated_ce.study.api import Listener
    from dilated_ce.study.outcome import Outcome

AnyPath = str | PathLike[str]


def compare(
    data: "AnyPath | Mapping[str, Any] | None" = None,
    *,
    losses: "str | Sequence[str] | None" = None,
    seeds: int | None = None,
    steps: int | None = None,
    out: "AnyPath | None" = None,
    settings: "AnyPath | None" = None,
    fresh: bool = False,
    progress: bool = True,
    **options: Any,
) -> "Outcome":
    """Train the same network under each loss on your data, and say which helps.

    This is `dilated-ce compare` for scripts and notebooks: the same settings, runs and report.
    Finished runs are kept; after an interruption the same call goes on from there.

    Args:
        data: a folder with images/ and masks/, or one in nnU-Net's raw or the Medical Segmentation
            Decathlon's format; or the section `data` of the settings.
        losses: such as `["dice-ce", "adaptive-dbce-dice", "dbce:radius=4"]`.
        seeds: runs of each loss; 3.
        steps: training steps of each run; 1000.
        out: folder for the runs, the tables and report.html; `runs/NAME-OF-THE-DATA`.
        settings: a YAML file with settings; arguments win.
        fresh: train again what is finished.
        progress: print how it goes on, to stderr or below the cell.
        options: any other setting by its name, such as `reference="ce"`, `folds=5`, `lr=0.01`, or a
            section of the file, such as `tune={"factors": [0.3, 1, 3]}`; `tune="lr"` takes the
            usual factors.

    Returns:
        The tables, the sentences and the path to the report; in a notebook it shows itself.

    Raises:
        TypeError: a name that is no setting; the message has the nearest one that is.
        SettingsError, DataError, StudyError: what is wrong, and what to do, before any training.

    Examples:
        >>> from dilated_ce.study import compare
        >>> compare("images/", losses=["ce", "dice-ce"], step=100)
        Traceback (most recent call last):
        TypeError: got step, which is no setting; did you mean steps?
    """
    api = _study()
    from dilated_ce.study.outcome import Outcome
    from dilated_ce.study.settings.compare import SettingsError
    from dilated_ce.study.settings.file import gather
    from dilated_ce.study.settings.names import dotted
    from dilated_ce.study.training.loss_spec import parse_losses

    chosen: Any = losses
    if isinstance(losses, str):
        try:
            chosen = parse_losses(losses)
        except ValueError as error:
            raise SettingsError(f"losses: {error}") from error
    if options.get("tune") == "lr":
        options["tune"] = {}
    named = {"data": data, "losses": chosen, "seeds": seeds, "steps": steps, "out": out}
    config = gather(None if settings is None else Path(settings), dotted({**named, **options}))
    api.compare(config, listener=_listener(progress), fresh=fresh)
    return Outcome(config.out)


def _study() -> ModuleType:
    """The study, without what its libraries say of notebooks that have no widgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        from dilated_ce.study import api
    return api


def _listener(progress: bool) -> "Listener":
    from rich.console import Console

    from dilated_ce.study.api import Listener
    from dilated_ce.study.telling import Telling

    return Telling(Console(stderr=True)) if progress else Listener()
