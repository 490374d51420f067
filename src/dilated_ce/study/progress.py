"""Progress bars over runs and their steps."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.wording import escape

if TYPE_CHECKING:
    from dilated_ce.study.nnunet.carry_out import NnunetOutcome
    from dilated_ce.study.nnunet.unit import NnunetUnit
    from dilated_ce.study.runs.local import Outcome
    from dilated_ce.study.runs.unit import Unit

POLL_SECONDS = 0.5


@contextmanager
def counting(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar that is gone when all is done; the function counts one more."""
    with _bars(console) as bars:
        task = bars.add_task(what, total=total)
        yield lambda: bars.advance(task)


class UnitProgress(Watcher):
    """A bar over the steps of all units, one for each that goes on, and a line for each at its end.

    The steps are read from the files that units keep, so it is the same wherever they are done.
    What runs on other machines wait for stands behind the name of the first bar; where there is no
    terminal it is a line, as whoever reads the log wants to know it too.
    """

    def __init__(
        self,
        console: Console,
        what: str,
        units: "Sequence[Unit] | Sequence[NnunetUnit]",
        steps: str = "steps",
    ) -> None:
        self.console = console
        self.units = {unit.folder: unit for unit in units}
        self.what, self.state = what, ""
        self.finished = 0
        self.bars = _bars(console, steps)
        self.task = self.bars.add_task(what, total=sum(unit.training.steps for unit in units))
        self.width = len(str(len(units)))
        self.over, self.lock = threading.Event(), threading.Lock()
        self.poller = threading.Thread(target=self._poll, daemon=True)
        self.left = dict(self.units)
        self.at_first: dict[Path, int] = {}  # steps of those left, from an earlier time
        self.lines: dict[Path, TaskID] = {}  # of those that go on
        self.steps_of_finished = 0

    def __enter__(self) -> "UnitProgress":
        """Show the bar."""
        self.bars.start()
        self.poller.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        self.over.set()
        self.poller.join()
        self.bars.stop()

    def on_state(self, state: str) -> None:
        """Show it with the bar."""
        if state == self.state:
            return
        self.state = state
        shown = f"{self.what} [dim]({escape(state)})[/]" if state else self.what
        self.bars.update(self.task, description=shown)
        if state and not self.console.is_terminal:
            self.on_note(state)

    def on_note(self, note: str) -> None:
        """Print it."""
        self.console.print(f"  [dim]{escape(note)}[/]", highlight=False, soft_wrap=True)

    def on_outcome(
        self, unit: "Unit | NnunetUnit", outcome: "Outcome | NnunetOutcome", kept: bool
    ) -> None:
        """Count a unit and print how it went."""
        from dilated_ce.study.runs.store import Failure

        self.finished += 1
        with self.lock:
            self.left.pop(unit.folder)
            if unit.folder in self.lines:
                self.bars.remove_task(self.lines.pop(unit.folder))
        if kept:  # no progress: it would make the others look as fast
            total = self.bars.tasks[0].total or 0
            self.bars.update(self.task, total=total - unit.training.steps)
        else:
            self.steps_of_finished += unit.training.steps
        name = escape(unit.title)
        count = f"[dim]{self.finished:>{self.width}}/{len(self.units)}[/]  "
        if isinstance(outcome, Failure):
            text = f"{count}{name}: [red]failed[/]: {escape(outcome.error)}"
        else:
            how = "kept from an earlier time" if kept else f"{outcome.info['seconds']:.0f} s"
            text = f"{count}{name}: Dice {100 * outcome.dice:.1f} [dim]({how})[/]"
            if outcome.diverged or outcome.collapsed:
                what = (
                    "its loss became infinite or NaN"
                    if outcome.diverged
                    else "it finds no voxel of a class"
                )
                text += f"\n   [yellow]this run went wrong: {what}; it is counted[/]"
        self.console.print(text, highlight=False, soft_wrap=True)

    def _poll(self) -> None:
        while not self.over.wait(POLL_SECONDS):
            running = 0
            for folder, unit in list(self.left.items()):
                steps = unit.steps_done
                running += steps
                if steps != self.at_first.setdefault(folder, steps):
                    self._show(unit, steps)
            self.bars.update(self.task, completed=self.steps_of_finished + running)

    def _show(self, unit: "Unit | NnunetUnit", steps: int) -> None:
        with self.lock:
            if unit.folder not in self.left:
                return
            if unit.folder not in self.lines:
                total = unit.training.steps
                self.lines[unit.folder] = self.bars.add_task("", total=total)
            what = escape(", ".join(filter(None, [unit.title, unit.note])))
            self.bars.update(self.lines[unit.folder], description=f"  {what}", completed=steps)


def _bars(console: Console, unit: str = "") -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # In a notebook a bar is a widget: without them the lines have to do.
        disable=console.is_jupyter and find_spec("ipywidgets") is None,
        speed_estimate_period=3600,  # an epoch of nnU-Net may take minutes
    )
