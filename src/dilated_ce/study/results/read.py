"""What every reader of results gives."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Read:
    """The scores of one source.

    `cases` has the columns loss (the method), case and a column per score that is there; and
    dataset, seed, fold, group and class where the source tells them.
    """

    cases: pd.DataFrame
    notes: tuple[str, ...] = ()  # what was taken for what, and what is missing
    lesions: pd.DataFrame | None = None
    unit: str | None = None  # of distances
    tolerance: str | None = None  # of the surface Dice, with its unit, where the source names it
    classes_of_columns: bool = False  # they were taken from columns such as a_dice and b_dice
