"""The scores of all losses beside each other, and their means: made once, for every statistic."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from dilated_ce.study.scores.table import SCORES

RUN = ["seed", "fold"]
RUN_AND_CASE = [*RUN, "group", "case"]


@dataclass(frozen=True)
class Scores:
    """Every score under every loss, a row per seed, fold, group, case and class.

    Both tables have columns by score and loss; NaN: there is none. `Scores.of_class` gives those of
    one class.
    """

    table: pd.DataFrame
    runs: pd.DataFrame  # by seed and fold, a column per loss: whether the run is there
    losses: tuple[str, ...]  # in the order of the rows that they come from
    class_name: str | None = None  # None: all classes
    _classes: "dict[str, Scores]" = field(default_factory=dict, repr=False, compare=False)

    @property
    def metrics(self) -> list[str]:
        """The scores that there are, in the order of `SCORES`."""
        there = set(self.table.columns.get_level_values("metric"))
        return [score for score in SCORES if score in there]

    def has(self, metric: str, losses: Sequence[str]) -> bool:
        """Whether any case has the score under any of these losses."""
        there = metric in self.metrics
        return there and bool(self.table[metric][list(losses)].notna().to_numpy().any())

    def of_class(self, name: str) -> "Scores":
        """The scores of one class alone.

        Raises:
            ValueError: no row is of that class.
        """
        if name not in self._classes:
            rows = self.table.index.get_level_values("class") == name
            if not rows.any():
                raise ValueError(f"class_name: got {name!r}, which no row has")
            self._classes[name] = replace(
                self, table=self.table[rows], class_name=name, _classes={}
            )
        return self._classes[name]

    @cached_property
    def by_case(self) -> pd.DataFrame:
        """The mean over the classes of each case: by seed, fold, group and case."""
        return self.table.groupby(RUN_AND_CASE).mean()

    @cached_property
    def by_group(self) -> pd.DataFrame:
        """The mean over the cases of each group: by seed, fold and group."""
        return self.by_case.groupby([*RUN, "group"]).mean()

    @cached_property
    def shared_runs(self) -> pd.MultiIndex:
        """The runs that every loss has: seeds and folds."""
        return self.runs.index[self.runs.all(axis=1)]

    def in_runs(self, table: pd.DataFrame, runs: pd.MultiIndex) -> pd.DataFrame:
        """The rows of these runs, of a table by seed, fold and more."""
        if len(runs) == len(self.runs):
            return table
        others = [name for name in table.index.names if name not in RUN]
        return table[table.index.droplevel(others).isin(runs)]

    def paired(self, losses: Sequence[str], metric: str) -> pd.DataFrame:
        """`by_case` of one score under these losses, in the runs that all of them have.

        Raises:
            ValueError: a score that one of the losses lacks: a pair that is dropped for what a loss
                predicted would flatter it.
        """
        self.check_pairs(losses, metric)
        # A run that one of them lacks is left out: it failed, whatever it would have predicted.
        return self.by_case[metric][list(losses)].dropna()

    def check_pairs(self, losses: Sequence[str], metric: str) -> None:
        """Refuse a score that one of these losses lacks in a run that all have: see `paired`."""
        runs = self.runs.index[self.runs[list(losses)].all(axis=1)]
        table = self.in_runs(self.table[metric], runs)[list(losses)]
        there = table.notna().to_numpy()
        lacking = (there != there[:, :1]).any(axis=1)
        if not lacking.any():
            return
        place = int(np.argmax(lacking))
        seed, fold, _, case, class_name = table.index[place]
        has, lacks = (losses[int(np.argmax(there[place] == held))] for held in (True, False))
        raise ValueError(
            f"{metric}: {case}, class {class_name}, seed {seed}, fold {fold} has a score under "
            f"{has} and none under {lacks}. Expected one under both, or under none for want of "
            "truth: a pair that is dropped for what was predicted flatters a loss. Score a class "
            "that a case lacks 1 if nothing of it is predicted, else 0."
        )


def side_by_side(cases: pd.DataFrame) -> Scores:
    """The scores of rows as in `cases.csv`, whatever their order.

    Raises:
        ValueError: rows that are there twice.

    Examples:
        The organ is not there, so it has no score under either loss:

        >>> cases = pd.DataFrame({"loss": ["a", "a", "b", "b"], "seed": 0, "fold": 0, "case": "x",
        ...     "group": "x", "class": ["organ", "lesion"] * 2, "dice": [None, 0.5, None, 0.6]})
        >>> side_by_side(cases).by_case["dice"].values.tolist()
        [[0.5, 0.6]]
    """
    keys = [*RUN_AND_CASE, "class", "loss"]
    rows = cases.set_index(keys)[[score for score in SCORES if score in cases]].astype(float)
    if not rows.index.is_unique:
        row = dict(zip(keys, rows.index[rows.index.duplicated()][0], strict=True))
        raise ValueError(f"got the row of {row['loss']}, seed {row['seed']}, {row['case']} twice")
    rows.columns.name = "metric"
    return Scores(
        rows.unstack("loss"),
        cases.groupby([*RUN, "loss"]).size().unstack("loss").notna(),
        tuple(cases["loss"].unique()),
    )
