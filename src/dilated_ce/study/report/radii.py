"""Which radius to take: the one with the best Dice on the validation part."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dilated_ce.study.runs.store import Run
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.training.losses import WITH_RADIUS


@dataclass(frozen=True)
class Candidate:
    """A radius with the mean Dice (fractions) over its runs."""

    loss: LossSpec
    validation: float  # at the last step
    test: float


def families(specs: Sequence[LossSpec]) -> list[list[LossSpec]]:
    """The losses that have a radius or find it themselves, by what they are beside it.

    Examples:
        >>> from dilated_ce.study.training.loss_spec import parse_losses
        >>> text = "ce,dbce:radius=8,dbce,dbce:radius=2,balance=image"
        >>> [[str(spec) for spec in family] for family in families(parse_losses(text))]
        [['dbce:radius=2,balance=image', 'dbce:radius=8', 'dbce:radius=auto']]
    """
    found: dict[str, list[LossSpec]] = {}
    for spec in specs:
        if spec.name in WITH_RADIUS:
            found.setdefault(WITH_RADIUS[spec.name], []).append(spec)
    return [sorted(family, key=_radius) for family in found.values() if len(family) > 1]


def _radius(spec: LossSpec) -> tuple[float, str]:
    """Numbers in their order, then what finds the radius itself."""
    radius = spec.settings.get("radius")
    return (radius if isinstance(radius, float) else math.inf), str(spec)


def candidates(
    runs: Sequence[Run], specs: Sequence[LossSpec], test_dice: Mapping[str, float]
) -> list[list[Candidate]]:
    """The families whose radii can be judged on the validation part."""
    judged = []
    for family in families(specs):
        members = []
        for spec in family:
            last = [
                run.curve["dice"].iloc[-1] for run in runs if run.loss == spec if len(run.curve)
            ]
            if last:
                members.append(Candidate(spec, float(np.mean(last)), test_dice[str(spec)]))
        if len(members) > 1:
            judged.append(members)
    return judged


def best(family: Sequence[Candidate]) -> Candidate:
    """The radius to take; the smaller of equal ones."""
    return max(family, key=lambda candidate: candidate.validation)


def advice(family: Sequence[Candidate]) -> str:
    """The choice in words."""
    chosen = best(family)
    others = sorted(
        (candidate for candidate in family if candidate is not chosen),
        key=lambda candidate: -candidate.validation,
    )
    lead = 100 * (chosen.validation - others[0].validation)
    return (
        f"Which radius: {chosen.loss.title} has the best Dice on the validation part, "
        f"{100 * chosen.validation:.1f}, and {100 * chosen.test:.1f} on the test cases; "
        f"{others[0].loss.title} is next, {lead:.1f} behind on the validation part."
    )
