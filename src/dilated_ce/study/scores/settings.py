"""Settings of the scores."""

from typing import Literal

from pydantic import Field

from dilated_ce.study.data.reading import Strict


class ScoringConfig(Strict):
    """How predictions are judged."""

    tolerance: float = Field(
        default=2.0, ge=0, description="of the surface Dice (NSD), in the unit of the data"
    )
    empty: Literal["skip", "perfect"] = Field(
        default="skip",
        description="a class that is neither there nor predicted has no score, or a perfect one",
    )
