"""Settings of what is compared with what."""

from pydantic import Field

from dilated_ce.study.data.reading import Strict
from dilated_ce.study.training.settings import Loss


class StatisticsConfig(Strict):
    """What is compared with what."""

    reference: Loss | None = Field(
        default=None, description="one of the losses; dice-ce, ce or the first"
    )
    margin: float = Field(
        default=1.5, gt=0, description="Dice points within which losses count as equivalent"
    )
    resamples: int = Field(default=5000, ge=200, description="of the ranks' bootstrap")
