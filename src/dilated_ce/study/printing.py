"""How a study goes on, printed: on a terminal and in a notebook alike."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console

from dilated_ce.study.api import Listener
from dilated_ce.study.data.cases import DataSet
from dilated_ce.study.planning import Rates
from dilated_ce.study.progress import UnitProgress, counting
from dilated_ce.study.runs.unit import Unit
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.wording import escape


class PrintingListener(Listener):
    """Prints what goes on, with bars over what takes its time."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def on_data(self, data: DataSet) -> None:
        """Say what the data are, and how they are split."""
        fold = data.folds[0]
        parts = {"training": fold.train, "validation": fold.validation, "test": fold.test}
        counted = ", ".join(f"{len(cases)} for {name}" for name, cases in parts.items() if cases)
        self.console.print(
            f"[bold]{escape(data.name)}[/]: {len(data.cases)} cases, {counted}"
            f"{f' in fold 0 of {len(data.folds)}' if len(data.folds) > 1 else ''}. "
            f"{escape(data.split)}",
            highlight=False,
        )

    def on_notes(self, notes: Sequence[str]) -> None:
        """Print each."""
        for note in notes:
            self.console.print(f"  [dim]note: {escape(note)}[/]", highlight=False, soft_wrap=True)

    def on_rates(self, rates: Rates) -> None:
        """Print the rate of each loss on each fold."""
        for (loss, fold), rate in rates.items():
            name = f"{escape(loss.title)}, fold {fold}"
            self.console.print(f"  {name}: learning rate {rate:g}", highlight=False)

    def counting(self, what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """A bar."""
        return counting(self.console, what, total)

    @contextmanager
    def running(self, what: str, units: Sequence[Unit]) -> Iterator[Watcher]:
        """A bar over the steps, and a line for each run."""
        with UnitProgress(self.console, what, units) as progress:
            yield progress
