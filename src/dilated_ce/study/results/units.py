"""Whether sources measure alike: distances in one unit, surface Dice within one tolerance."""

from collections.abc import Sequence

from dilated_ce.study.results.read import Read
from dilated_ce.study.wording import some


def other_units(reads: Sequence[Read]) -> list[str]:
    """Units and tolerances that differ between sources; where a source names none, it is alike."""
    problems = []
    for what, scores, units in (
        ("distances are", ("hd95", "assd"), [read.unit for read in reads]),
        ("the surface Dice is within", ("nsd",), [read.tolerance for read in reads]),
    ):
        by_unit: dict[str, list[str]] = {}
        for read, unit in zip(reads, units, strict=True):
            if unit is not None and any(score in read.cases for score in scores):
                by_unit.setdefault(unit, []).extend(map(str, read.cases["loss"].unique()))
        if len(by_unit) > 1:
            shown = ", ".join(
                f"{unit} of {some(list(dict.fromkeys(names)), 3)}"
                for unit, names in by_unit.items()
            )
            problems.append(
                f"{what} {shown}: give all in one unit, or leave them out: --metric dice"
            )
    return problems
