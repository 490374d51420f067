"""What a comparison says, and what it can't say."""

import math
from collections.abc import Mapping, Sequence

from dilated_ce.study.runs.store import Failure, Run
from dilated_ce.study.scores.table import IN_UNITS
from dilated_ce.study.statistics.comparison import Comparison
from dilated_ce.study.statistics.verdict import FEWEST_GROUPS, Side, Verdict, interval_of
from dilated_ce.study.wording import count

NAMES = {
    "dice": "Dice",
    "nsd": "surface Dice",
    "hd95": "HD95",
    "lesion_f1": "lesion F1",
    "lesion_recall": "recall",
    "lesion_precision": "precision",
    "false_alarm": "false alarms",
}
ENOUGH_SEEDS = 5
HEADINGS: dict[str, Side] = {
    "Better": "better",
    "Worse": "worse",
    "Better for these networks": "better in these runs",
    "Worse for these networks": "worse in these runs",
    "Within the margin": "within the margin",
    "Not told apart": "open",
    "Too few patients": "too few",
}

# Of a loss, by score: mean differences that are told along with another score.
Details = Mapping[tuple[str, str], float]


def sentence(
    verdict: Verdict, titles: Mapping[str, str], unit: str, details: Details | None = None
) -> str:
    """A verdict in words: what it is, then every score of the family with its interval."""
    what_it_is = "95 % interval "  # said of the first interval alone: the others are the same
    parts = []
    for heading, side in HEADINGS.items():
        items = []
        for comparison in verdict.of(side):
            items.append(_item(comparison, side, unit, details or {}, what_it_is))
            what_it_is = ""
        if items:
            parts.append((heading, "; ".join(items)))
    start = _heading(verdict, titles[verdict.loss], titles[verdict.reference])
    if len(parts) == 1 and verdict.word in ("not told apart", "too few"):
        return f"{start}: {parts[0][1]}."
    return " ".join([f"{start}.", *(f"{heading}: {items}." for heading, items in parts)])


def _heading(verdict: Verdict, loss: str, reference: str) -> str:
    points = f"{100 * verdict.margin:g} points of Dice"
    dice = verdict.sides[0][0]
    which, in_these, _ = verdict.word.partition(" in these runs")
    text = {
        "better": f"{loss} is better than {reference}",
        "worse": f"{loss} is worse than {reference}",
        "trade-off": f"{loss} is a trade-off against {reference}",
        "equivalent": f"{loss} is as good as {reference}, within {points}",
        "not told apart": f"{loss} and {reference} are not told apart",
        "too few": f"{loss} beside {reference}: {tested(dice.groups, dice.cases)} can't "
        f"carry a verdict, which takes {FEWEST_GROUPS}",
    }[which]
    if in_these and dice.seeds == 1:
        text += " for these networks; one seed says nothing about others"
    elif in_these:
        text += " for these networks, but other seeds might differ"
    return text


def _item(comparison: Comparison, side: Side, unit: str, details: Details, what_it_is: str) -> str:
    """A score with its difference: `HD95 +5.2 px (+1.1 to +9.3)`."""
    factor, what = (1, f" {unit}") if comparison.metric in IN_UNITS else (100, " points")
    text = f"{NAMES[comparison.metric]} {factor * comparison.difference:+.1f}{what}"
    notes = []
    if not math.isnan(comparison.low):
        interval = interval_of(comparison, side)
        notes.append(what_it_is + " to ".join(f"{factor * end:+.1f}" for end in interval))
    if comparison.metric == "lesion_f1":
        told = [
            f"{NAMES[name]} {100 * details[comparison.loss, name]:+.1f}"
            for name in ("lesion_recall", "lesion_precision")
            if (comparison.loss, name) in details
        ]
        notes += [", ".join(told)] if told else []
    if comparison.metric == "false_alarm":
        notes.append(f"of {count(comparison.groups, 'healthy patient')}")
    return f"{text} ({'; '.join(notes)})" if notes else text


def tested(groups: int, cases: int) -> str:
    """How many patients were tested, or cases, if nobody said which are of one patient.

    Examples:
        >>> tested(3, 3), tested(3, 12)
        ('3 test cases', '3 test patients')
    """
    return count(groups, "test case" if groups == cases else "test patient")


def limits(
    verdicts: Sequence[Verdict], seeds: int, groups: int, cases: int, word: str = "loss"
) -> list[str]:
    """What a comparison of this size can't say; `word`: what is compared."""
    trained_here = word == "loss"
    said = []
    if verdicts:
        number = verdicts[0].sides[0][0].comparisons
        said.append(
            f"The intervals hold with 95 % for all {number} differences of the first table "
            "together, for other patients and other seeds, and allow for patients of a kind that "
            "was not seen here. All else on this page is exploration: no verdict follows from it."
            if number > 1
            else "The interval holds with 95 % for other patients and other seeds."
        )
    said.append(
        ("Every loss has the same training cases: how" if trained_here else "How")
        + " much another training set would change is in no interval."
    )
    if seeds == 1:
        said.append(
            "One seed says nothing about other initial weights: the intervals are those of the "
            "test cases alone."
        )
    elif seeds < ENOUGH_SEEDS:
        said.append(
            f"{count(seeds, 'seed').capitalize()} say little about how runs differ, so the "
            f"intervals are wide: with {ENOUGH_SEEDS} they are much narrower."
        )
    if groups < FEWEST_GROUPS:
        said.append(f"{tested(groups, cases).capitalize()}: no verdict.")
    if any(verdict.word == "not told apart" for verdict in verdicts):
        said.append(
            f"{'Losses' if trained_here else 'Methods'} that are not told apart need not be equal: "
            "more cases or seeds may."
        )
    said.append(
        "It holds for this network, training time and data; longer training often brings losses "
        "closer."
        if trained_here
        else "It holds for these networks, as they were trained, and for patients like these. Two "
        "methods are compared as a whole: what else differs between them beside their names is "
        "in the difference, too."
    )
    return said


def troubles(
    runs: Sequence[Run], failures: Sequence[Failure], titles: Mapping[str, str]
) -> list[str]:
    """Runs that went wrong; those that have scores are in every table."""
    said = []
    for run in runs:
        name = f"{titles[str(run.loss)]}, seed {run.seed}, fold {run.fold}"
        if run.diverged:
            said.append(f"{name}: diverged: its loss became infinite or NaN; it is counted.")
        elif run.collapsed:
            said.append(
                f"{name}: collapsed: it finds no voxel of a class in any test case; it is counted."
            )
    for failure in failures:
        name = f"{titles[str(failure.loss)]}, seed {failure.seed}, fold {failure.fold}"
        said.append(f"{name}: failed and has no scores: {failure.error}")
    return said
