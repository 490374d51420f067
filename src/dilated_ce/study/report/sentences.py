"""What a comparison says, and what it can't say."""

from collections.abc import Sequence

from dilated_ce.study.runs.store import Failure, Run
from dilated_ce.study.statistics.comparison import Comparison
from dilated_ce.study.wording import count

FEW_GROUPS = 20
FEW_SEEDS = 3


def verdict(comparison: Comparison) -> str:
    """Better, worse, equivalent, better or worse in these runs, or not told apart.

    Better and worse: the 95 % interval leaves zero out. In these runs: that of patients alone does,
    so other seeds may tell otherwise; one seed never says more. Equivalent: see `is_equivalent`.
    """
    which = "better" if comparison.difference > 0 else "worse"
    if comparison.seeds > 1:
        if comparison.low > 0 or comparison.high < 0:
            return which
        if is_equivalent(comparison):
            return "equivalent"
    if comparison.low_of_runs > 0 or comparison.high_of_runs < 0:
        return f"{which} in these runs"
    return "not told apart"


def is_equivalent(comparison: Comparison) -> bool:
    """Whether the tests say so, and the whole interval lies within the margin too.

    The tests take the seeds as given; the interval, which does not, keeps two lucky seeds from
    being called equivalent.
    """
    margin = comparison.margin
    if margin is None or not comparison.equivalent:
        return False
    return -margin <= comparison.low and comparison.high <= margin


def sentence(comparison: Comparison, titles: dict[str, str]) -> str:
    """A comparison of Dice in words."""
    loss, reference = titles[comparison.loss], titles[comparison.reference]
    if comparison.groups < 2:
        return f"{loss}: a single test case or patient, so nothing can be said of others."
    interval = f"95 % interval {100 * comparison.low:+.1f} to {100 * comparison.high:+.1f}"
    points = f"{100 * abs(comparison.difference):.1f} points of Dice"
    is_level = points.startswith("0.0 ")
    if is_level:
        points = "less than 0.1 points of Dice"
    what = verdict(comparison)
    if what in ("better", "worse"):
        place = "above" if what == "better" else "below"
        text = f"{loss} is {points} {place} {reference} ({interval})"
        if is_equivalent(comparison):
            text += f"; within the margin of {100 * (comparison.margin or 0):g} all the same"
        return f"{text}."
    if what == "equivalent":
        return (
            f"{loss} is as good as {reference} within {100 * (comparison.margin or 0):g} points "
            f"({interval})."
        )
    place = "above" if comparison.difference > 0 else "below"
    if what.endswith("in these runs"):
        runs = f"{100 * comparison.low_of_runs:+.1f} to {100 * comparison.high_of_runs:+.1f}"
        text = f"{loss} is {points} {place} {reference} for the networks trained here ({runs})"
        if comparison.seeds == 1:
            return f"{text}; one seed tells nothing of others."
        return f"{text}, but other seeds might tell otherwise ({interval}): try more of them."
    if is_level:
        return (
            f"{loss} came out level with {reference}; these runs can't tell which is better "
            f"({interval})."
        )
    return (
        f"{loss} came out {points} {place} {reference}, which these runs can't tell from chance "
        f"({interval})."
    )


def limits(comparisons: Sequence[Comparison], seeds: int, groups: int) -> list[str]:
    """What a comparison of this size can't say."""
    said = []
    if seeds == 1:
        said.append(
            "With one seed nobody knows what other initial weights would give: the intervals are "
            "those of the test cases alone."
        )
    elif seeds < FEW_SEEDS:
        said.append(
            f"{count(seeds, 'seed').capitalize()} tell little of how runs differ, which makes the "
            "intervals wide: one seed more narrows them much."
        )
    if groups < FEW_GROUPS:
        said.append(
            f"{count(groups, 'independent test case').capitalize()}: small differences can't show."
        )
    if any(verdict(comparison) == "not told apart" for comparison in comparisons):
        said.append("Losses that are not told apart need not be equal: more cases or seeds may.")
    said.append(
        "It holds for this network, training time and data; longer training often brings losses "
        "closer."
    )
    return said


def troubles(runs: Sequence[Run], failures: Sequence[Failure], titles: dict[str, str]) -> list[str]:
    """Runs that went wrong; those that have scores are in every table."""
    said = []
    for run in runs:
        name = f"{titles[str(run.loss)]}, seed {run.seed}, fold {run.fold}"
        if run.diverged:
            said.append(f"{name}: diverged, its loss became infinite or no number; it is counted.")
        elif run.collapsed:
            said.append(
                f"{name}: collapsed, it finds no voxel of a class in any test case; it is counted."
            )
    for failure in failures:
        name = f"{titles[str(failure.loss)]}, seed {failure.seed}, fold {failure.fold}"
        said.append(f"{name}: failed and has no scores: {failure.error}")
    return said
