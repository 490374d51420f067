"""The result of a comparison or a report, read back from its folder."""

import html
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dilated_ce.study.report.tables import TITLES, show, signed
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.scores.table import SCORES, read_cases
from dilated_ce.study.statistics.comparison import FAMILY
from dilated_ce.study.training.loss_spec import parse_loss


class Outcome:
    """The tables, the sentences and the page of a comparison; it shows itself in a notebook.

    Scores and differences are fractions, or in the unit of the data (hd95, assd, false_volume).

    Args:
        folder: of a comparison or a report; nothing is computed again.

    Raises:
        StudyError: the folder holds no finished one.

    Examples:
        >>> Outcome("nowhere")
        Traceback (most recent call last):
        dilated_ce.study.runs.store.StudyError: nowhere holds no report: no summary.json
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            text = (self.folder / "summary.json").read_text(encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{self.folder} holds no report: no summary.json") from error
        self.summary: dict[str, Any] = json.loads(text)

    @property
    def path(self) -> Path:
        """The page, report.html."""
        return self.folder / "report.html"

    @property
    def sentences(self) -> list[str]:
        """What can be said of each loss beside the reference."""
        return list(self.summary["sentences"])

    @property
    def troubles(self) -> list[str]:
        """What went wrong, or is worth a warning."""
        return list(self.summary["troubles"])

    @property
    def reference(self) -> str:
        """What the others are compared with."""
        return str(self.summary["reference"])

    @property
    def word(self) -> str:
        """What is compared: loss, or method."""
        return "loss" if "losses" in self.summary else "method"

    @cached_property
    def data_sets(self) -> "dict[str, Outcome]":
        """Of a report on several data sets: what came of each; empty for one."""
        pages = self.summary.get("data_sets", {})
        return {name: Outcome((self.folder / page).parent) for name, page in pages.items()}

    @cached_property
    def pooled(self) -> pd.DataFrame:
        """Of a report on several data sets: the mean differences over them; empty for one."""
        return pd.DataFrame(self.summary.get("pooled", []))

    @cached_property
    def cases(self) -> pd.DataFrame:
        """Every score of every test case: `cases.csv`."""
        return read_cases(self.folder / "cases.csv", self.word)

    @cached_property
    def means(self) -> pd.DataFrame:
        """The mean of each score under each loss, over the runs that all share."""
        return self._of_losses("mean")

    @cached_property
    def spreads(self) -> pd.DataFrame:
        """Standard deviations over the seeds, as `means`."""
        return self._of_losses("sd_over_seeds")

    def _of_losses(self, what: str) -> pd.DataFrame:
        rows = self.summary.get("losses" if self.word == "loss" else "methods", {})
        table = pd.DataFrame(
            {name: {score: of[what] for score, of in row.items()} for name, row in rows.items()}
        )
        return table.T.reindex(columns=list(SCORES)).astype(float).rename_axis(self.word)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every difference to the reference with its 95 % interval.

        Those with a verdict come first: their intervals hold together (`judged`), and `came_out`
        says better, worse, open and so on. The others are exploration.
        """
        judged = [
            {**row, "judged": True}
            for of in self.summary.get("verdicts", ())
            for row in of["comparisons"]
        ]
        explored = [
            {**row, "judged": False, "came_out": ""} for row in self.summary.get("exploration", ())
        ]
        columns = [
            *(self.word, "reference", "metric", "class_name", "difference", "low", "high"),
            *("low_of_runs", "high_of_runs", "judged", "came_out"),
            *("improvement", "comparisons", "seeds", "folds", "cases", "groups"),
        ]
        return pd.DataFrame([*judged, *explored], columns=columns)

    @cached_property
    def verdicts(self) -> pd.Series:
        """The word for each loss: better, worse, trade-off, equivalent, ..."""
        words = {row[self.word]: row["verdict"] for row in self.summary.get("verdicts", ())}
        return pd.Series(words, dtype=object, name="verdict").rename_axis(self.word)

    @property
    def table(self) -> pd.DataFrame:
        """The first table of the page, as text: mean ± spread, and below it the difference."""
        if self.data_sets:
            return self.pooled
        scores = [score for score in FAMILY if self.means[score].notna().any()]
        judged = self.differences[self.differences["judged"]]
        cells = {
            (row[self.word], row["metric"]): _difference(row) for row in judged.to_dict("records")
        }
        rows = {
            self._title(name): {
                TITLES[score]: show(score, means[score], self.spreads.loc[name, score])
                + cells.get((name, score), "")
                for score in scores
            }
            for name, means in self.means.iterrows()
        }
        words = [self.verdicts.get(name, "") for name in self.means.index]
        table = pd.DataFrame(rows).T.rename_axis(self.word).assign(verdict=words)
        return table if any(words) else table.drop(columns="verdict")

    def _title(self, name: Any) -> str:
        return parse_loss(str(name)).title if self.word == "loss" else str(name)

    def __repr__(self) -> str:
        return "\n".join([*self.sentences, *self.troubles, f"Report: {self.path}"])

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(line)}</li>" for line in self.sentences)
        warned = "".join(f"<li>⚠ {html.escape(line)}</li>" for line in self.troubles)
        # Pages of notebooks may not open files by their whole path, but those beside the notebook.
        path = os.path.relpath(self.path)
        link = html.escape(path.replace(os.sep, "/"))
        return (
            f"<ul>{said}{warned}</ul>{self.table.rename_axis(None).to_html(escape=True)}"
            f'<p>Report: <a href="{link}" target="_blank">{html.escape(path)}</a></p>'
        )


def _difference(row: dict[str, Any]) -> str:
    """A difference with its interval, to be put behind the mean."""
    ends = ("low", "high") if row["seeds"] > 1 else ("low_of_runs", "high_of_runs")
    text = signed(row["metric"], row["difference"])
    low, high = (row[end] for end in ends)
    if low is not None and low == low:
        text += f", {signed(row['metric'], low)} to {signed(row['metric'], high)}"
    return f" ({text})"
