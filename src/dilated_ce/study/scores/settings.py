"""Settings of the scores."""

from typing import Literal

from pydantic import Field

from dilated_ce.study.data.reading import Strict

Empty = Literal["score", "skip"]


class ScoringConfig(Strict):
    """How predictions are judged."""

    tolerance: float = Field(
        default=2.0, ge=0, description="of the surface Dice (NSD), in the unit of the data"
    )
    empty: Empty = Field(
        default="score",
        description="a class that a case lacks scores 1 if nothing of it is predicted, else 0; or "
        "it is skipped, and counts for false alarms only",
    )
