"""From the comparisons of a loss to one word: better, worse, trade-off, equivalent, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dilated_ce.study.scores.table import LOWER_IS_BETTER
from dilated_ce.study.statistics.comparison import Comparison

# Of fewer patients the interval is mostly made of those that are not there: see `interval`.
FEWEST_GROUPS = 20

Side = Literal[
    "better",
    "worse",
    "better in these runs",
    "worse in these runs",
    "within the margin",
    "open",
    "too few",
]


@dataclass(frozen=True)
class Verdict:
    """What can be said of one loss beside the reference."""

    loss: str
    reference: str
    word: str
    margin: float
    sides: tuple[tuple[Comparison, Side], ...]  # Dice first

    def of(self, *sides: Side) -> list[Comparison]:
        """The comparisons that came out so."""
        return [comparison for comparison, side in self.sides if side in sides]


def judge_family(comparisons: Sequence[Comparison], margin: float) -> list[Verdict]:
    """A verdict per loss, in their order; within `margin` of Dice losses are equivalent."""
    by_loss: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by_loss.setdefault(comparison.loss, []).append(comparison)
    return [judge_loss(of_loss, margin) for of_loss in by_loss.values()]


def judge_loss(comparisons: Sequence[Comparison], margin: float) -> Verdict:
    """The verdict on one loss.

    - better: in a score at least, and in none worse, not even for the networks at hand alone;
    - worse: the other way round;
    - trade-off: better in one and worse in another;
    - equivalent: Dice differs by less than the margin, whole interval, and no other score differs;
    - any of these "in these runs": for other patients, but other seeds might differ;
    - not told apart; too few: patients.

    A difference of Dice within the margin is neither better nor worse, however sure it is.
    """
    sides = tuple((comparison, _side(comparison, margin)) for comparison in comparisons)
    first = comparisons[0]
    return Verdict(first.loss, first.reference, _word([side for _, side in sides]), margin, sides)


def _word(sides: Sequence[Side]) -> str:
    better = [side for side in sides if side.startswith("better")]
    worse = [side for side in sides if side.startswith("worse")]
    firm = {"better", "worse"} & set(sides)
    if sides[0] == "too few":
        return "too few"
    if better and worse:
        return "trade-off" if firm else "trade-off in these runs"
    if better or worse:
        return firm.pop() if firm else (better or worse)[0]
    return "equivalent" if sides[0] == "within the margin" else "not told apart"


def _side(comparison: Comparison, margin: float) -> Side:
    """How one score came out."""
    if comparison.groups < FEWEST_GROUPS:
        return "too few"
    sign = -1 if comparison.metric in LOWER_IS_BETTER else 1
    which: Side = "better" if sign * comparison.difference > 0 else "worse"
    is_dice = comparison.metric == "dice"
    if comparison.seeds > 1:
        if is_dice and -margin <= comparison.low and comparison.high <= margin:
            return "within the margin"
        if comparison.low > 0 or comparison.high < 0:
            return which
    if is_dice and -margin <= comparison.low_of_runs and comparison.high_of_runs <= margin:
        return "open"  # too little to count, for these networks; others are not known
    if comparison.low_of_runs > 0 or comparison.high_of_runs < 0:
        return "better in these runs" if which == "better" else "worse in these runs"
    return "open"


def interval_of(comparison: Comparison, side: Side) -> tuple[float, float]:
    """The interval that a side rests on: of the networks at hand where it is said of them alone."""
    if comparison.seeds == 1 or side.endswith("in these runs"):
        return comparison.low_of_runs, comparison.high_of_runs
    return comparison.low, comparison.high
