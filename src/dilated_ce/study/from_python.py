"""The study from Python: `compare` and `report` with the names of the command line.

Importing it is quick: what a study needs takes seconds to import, and waits for the first call.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dilated_ce.study.api import Listener
    from dilated_ce.study.outcome import Outcome

AnyPath = str | PathLike[str]
Named = Mapping[str, AnyPath | Sequence[AnyPath]]  # several of one name: repeats, a seed each


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
    """Train the same network under each loss on your data, and report which helps.

    This is `dilated-ce compare` for scripts and notebooks: the same settings, runs and report.
    Finished runs are kept; after an interruption the same call goes on from there.

    Args:
        data: a folder with images/ and masks/, or one in nnU-Net's raw or the Medical Segmentation
            Decathlon's format; or the section `data` of the settings.
        losses: such as `["dice-ce", "adaptive-dbce-dice", "dbce:radius=4"]`.
        seeds: runs of each loss; 3.
        steps: training steps of each run; 1000.
        out: folder for the runs, the tables and report.html; `runs/NAME-OF-THE-DATA`.
        settings: a YAML file with settings; arguments override it.
        fresh: train all runs again, finished ones included.
        progress: print the progress, to stderr or below the cell.
        options: any other setting by its name, such as `reference="ce"`, `folds=5`, `lr=0.01`, or a
            section of the file, such as `tune={"factors": [0.3, 1, 3]}`; `tune="lr"` takes the
            usual factors. `compile=True` trains with torch.compile. `trainer="nnunet"` compares
            whole nnU-Net trainings; then `dataset=4`, `configuration`, `folds=[0, 1]` and `epochs`
            replace the data.

    Returns:
        The tables, the sentences and the path to the report; in a notebook it shows itself.

    Raises:
        TypeError: an unknown setting; the message suggests the nearest one.
        SettingsError, DataError, StudyError: what is wrong and what to do, before any training.

    Examples:
        >>> from dilated_ce.study import compare
        >>> compare("images/", losses=["ce", "dice-ce"], step=100)
        Traceback (most recent call last):
        TypeError: got step, which is no setting; did you mean steps?
    """
    api = _study()
    from dilated_ce.study.outcome import Outcome
    from dilated_ce.study.settings.compare import SettingsError
    from dilated_ce.study.settings.file import gather, read_settings
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
    path = None if settings is None else Path(settings)
    of_file = read_settings(path).get("trainer") if path else None
    if (options.get("trainer") or of_file) == "nnunet":
        return _compare_with_nnunet(path, {**named, **options}, fresh, progress)
    if "compile" in options:  # a flag, as on the command line
        options["forward"] = "compiled" if options.pop("compile") else "eager"
    config = gather(path, dotted({**named, **options}))
    api.compare(config, listener=_listener(progress), fresh=fresh)
    return Outcome(config.out)


def _compare_with_nnunet(
    path: Path | None, options: Mapping[str, Any], fresh: bool, progress: bool
) -> "Outcome":
    from rich.console import Console

    from dilated_ce.study.outcome import Outcome
    from dilated_ce.study.progress import UnitProgress
    from dilated_ce.study.runs.watcher import Watcher
    from dilated_ce.study.settings.file import gather_nnunet
    from dilated_ce.study.settings.names import OF_NNUNET, dotted
    from dilated_ce.study.with_nnunet import NnunetListener, compare_with_nnunet

    class Bars(NnunetListener):
        @contextmanager
        def running(self, units: Any) -> Iterator[Watcher]:
            with UnitProgress(Console(stderr=True), "all runs", units, "epochs") as bars:
                yield bars

    config = gather_nnunet(path, dotted(options, OF_NNUNET))
    listener = Bars() if progress else NnunetListener()
    compare_with_nnunet(config, listener, fresh, _listener(progress))
    return Outcome(config.out)


def report(
    *results: AnyPath,
    method: Named | None = None,
    truth: AnyPath | None = None,
    predictions: Named | None = None,
    out: AnyPath = "runs/report",
    progress: bool = True,
    **options: Any,
) -> "Outcome":
    """Compare methods by results that you already have. Nothing is trained.

    This is `dilated-ce report` for scripts and notebooks: the same sources, options and report.

    Args:
        results: tables of scores (CSV, TSV, with a column of methods), and results folders of
            nnU-Net.
        method: tables or folders by the name of their method, `{"ours": "a.csv"}`; a list of
            several under one name are repeats, one seed each.
        truth: a folder of true masks to score predictions against.
        predictions: folders of predicted masks by the name of their method, as in `method`.
        out: folder for the report.
        progress: print the progress, to stderr or below the cell.
        options: any other option by its name, such as `reference="nnUNetTrainer"`,
            `column={"dice": "DSC"}`, `metric=["dice", "hd95"]` or `tolerance=1`.

    Returns:
        The tables, the sentences and the path to the report; in a notebook it shows itself.

    Raises:
        TypeError: an unknown option; the message suggests the nearest one.
        SettingsError, DataError, StudyError: what is wrong and what to do.

    Examples:
        >>> from dilated_ce.study import report
        >>> report("scores.csv", metrics=["dice"], referense="ours")
        Traceback (most recent call last):
        TypeError: got referense, which is no setting; did you mean reference?
    """
    _study()
    from dilated_ce.study import reporting
    from dilated_ce.study.outcome import Outcome
    from dilated_ce.study.settings.file import build_report_config
    from dilated_ce.study.settings.names import of_report

    named = {"truth": truth, "out": out}
    sources = {
        "results": [{"path": path} for path in results] + _sources(method),
        "predictions": _sources(predictions),
    }
    config = build_report_config({**sources, **of_report({**named, **options})})
    reporting.report(config, _listener(progress))
    return Outcome(config.out)


def _sources(named: Named | None) -> list[dict[str, Any]]:
    return [
        {"path": path, "method": name}
        for name, paths in (named or {}).items()
        for path in ([paths] if isinstance(paths, str | PathLike) else paths)
    ]


def _study() -> ModuleType:
    """The study, without what its libraries say of notebooks that have no widgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        from dilated_ce.study import api
    return api


def _listener(progress: bool) -> "Listener":
    from rich.console import Console

    from dilated_ce.study.api import Listener
    from dilated_ce.study.printing import PrintingListener

    return PrintingListener(Console(stderr=True)) if progress else Listener()
