"""The questions of results/PROTOCOL.md, answered from scores: on each data set, and over all."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from dilated_ce.study.scores.table import IN_UNITS, LOWER_IS_BETTER
from dilated_ce.study.statistics.comparison import FAMILY, compare_family, compare_to
from dilated_ce.study.statistics.interval import estimate
from dilated_ce.study.statistics.pooling import mean_over_data_sets, smallest_error
from dilated_ce.study.statistics.side_by_side import Scores, side_by_side

MARGIN = 0.015  # of Dice
MUCH_FARTHER = 0.1  # of the HD95 that the reference has
SHOWN = (*FAMILY, "lesion_recall", "lesion_precision", "recall", "precision", "ece")
WORSE_ELSEWHERE = ("hd95", "lesion_precision")  # what makes a trade-off, with false alarms
HEALTHY = "healthy"  # the set with healthy cases: for false alarms, and in no mean over sets


@dataclass(frozen=True)
class Question:
    """One arm against another."""

    number: str  # as in the protocol; several arms may belong to one
    arm: str
    reference: str
    kind: Literal["better", "like", "safe", "described"]

    @property
    def together(self) -> int:
        """Of so many intervals over data sets all hold together."""
        return 3 if self.kind in ("better", "like") else 1


QUESTIONS = {
    "main": (
        Question("1", "dbce", "balanced-ce", "better"),
        Question("2", "dbce", "ce", "better"),
        Question("3", "dbce", "dice-ce", "like"),
        Question("4", "adaptive-dbce-dice", "dice-ce", "safe"),
        Question("5", "adaptive-dbce", "dice-ce", "described"),
        Question("5", "adaptive-dbce", "ce", "described"),
        Question("with Dice", "dbce-dice", "dice-ce", "described"),
        Question("chosen or adaptive", "adaptive-dbce", "dbce", "described"),
        Question("chosen or adaptive", "adaptive-dbce-dice", "dbce-dice", "described"),
        Question("peers", "ce", "dice-ce", "described"),
        Question("peers", "balanced-ce", "dice-ce", "described"),
    ),
    "ablations": (
        Question("halves", "no-dilation", "adaptive-dbce-dice", "described"),
        Question("halves", "no-shares", "adaptive-dbce-dice", "described"),
    ),
    "rivals": tuple(
        Question("rivals", arm, "dice-ce", "described")
        for arm in (
            *("dice", "dice-focal", "generalised-dice", "unified-focal", "dice-top-k"),
            *("dice-boundary", "adaptive-dbce-dice", "dbce-dice"),
        )
    ),
}


def scores_of(cases: pd.DataFrame, *arms: str) -> Scores:
    """The scores of these arms beside each other."""
    rows = cases[cases["arm"].isin(arms)]
    return side_by_side(rows.assign(loss=rows["arm"]))


def on_data_set(cases: pd.DataFrame, question: Question) -> pd.DataFrame:
    """The differences of all scores on one data set, a row each.

    The intervals of the scores of `FAMILY` hold together; those of the others hold each by itself.
    `plain_low` and `plain_high` have no part for patients of a kind that the test part lacks.
    """
    scores = scores_of(cases, question.arm, question.reference)
    found = compare_family(scores, question.reference)
    others = [
        comparison
        for metric in SHOWN
        if metric not in FAMILY and scores.has(metric, [question.arm, question.reference])
        for comparison in compare_to(scores, question.reference, [question.arm], metric=metric)
    ]
    rows = []
    for comparison in [*found, *others]:
        means = mean_of(scores, comparison.metric)
        by_group = scores.by_group[comparison.metric][[question.arm, question.reference]].dropna()
        difference = by_group[question.arm] - by_group[question.reference]
        plain = estimate(difference).interval(comparisons=comparison.comparisons)
        rows.append(
            {
                "score": comparison.metric,
                "mean": means[question.arm],
                "of_reference": means[question.reference],
                "difference": comparison.difference,
                "error": max(comparison.error, error_of_folds(difference)),
                "error_of_patients": comparison.error,
                "low": comparison.low,
                "high": comparison.high,
                "plain_low": plain[0],
                "plain_high": plain[1],
                "patients": comparison.groups,
            }
        )
    return pd.DataFrame(rows)


def error_of_folds(difference: pd.Series) -> float:
    """The standard error of the mean by how much folds differ, each of which has one network.

    0 if there is only one fold: the runs of other seeds tell what chance there is in training.
    """
    means = difference.groupby("fold").mean()
    return 0.0 if len(means) < 2 else float(means.sem())


def mean_of(scores: Scores, metric: str) -> pd.Series:
    """The mean of each arm: over classes, cases, patients, as the differences are made."""
    by_group = scores.by_group[metric].dropna()
    return by_group.groupby(["fold", "group"]).mean().mean()


def over_data_sets(by_set: Mapping[str, pd.DataFrame], together: int) -> pd.DataFrame:
    """The mean difference over data sets, a row for each score that two of them have.

    A distance is taken as a share of what the reference has: pixels and mm have no mean.
    """
    found = pd.concat([table.assign(set=name) for name, table in by_set.items() if name != HEALTHY])
    rows = []
    for score, of_score in found.groupby("score", sort=False):
        if len(of_score) < 2:
            continue
        unit = of_score["of_reference"] if score in IN_UNITS else 1.0
        bound = math.inf if score in IN_UNITS else 1.0
        errors = pd.Series(
            [smallest_error(row.error, row.patients, bound) for row in of_score.itertuples()],
            of_score.index,
        )
        mean = mean_over_data_sets(
            (of_score["difference"] / unit).to_list(),
            (errors / unit).to_list(),
            comparisons=together,
            bound=bound,
        )
        rows.append(
            {
                "score": score,
                "difference": mean.mean,
                "low": mean.low,
                "high": mean.high,
                "low_of_next": mean.low_of_next,
                "high_of_next": mean.high_of_next,
                "between": mean.between,
                "sets": len(of_score),
                "together": together,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Answer:
    """The word for a question, and what stands beside it."""

    word: str
    worse: tuple[str, ...] = ()  # scores that make it a trade-off
    against: tuple[str, ...] = ()  # data sets on the other side; or that failed or are in doubt
    below: tuple[str, ...] = ()  # whose Dice is below the reference's, by whatever little


def answer(question: Question, by_set: Mapping[str, pd.DataFrame], pooled: pd.DataFrame) -> Answer:
    """The word that the protocol gives."""
    if question.kind == "described":
        return Answer("")
    below = tuple(name for name, row in _rows_of(by_set, "dice") if row["difference"] < 0)
    if question.kind == "safe":
        return replace(_is_safe(by_set, pooled), below=below)
    dice = pooled.set_index("score").loc["dice"]
    if question.kind == "better":
        word = "confirmed" if dice["low"] > 0 else "refuted" if dice["high"] < 0 else "open"
    elif dice["low"] >= -MARGIN and dice["high"] <= MARGIN:
        word = "confirmed"
    elif dice["low"] > MARGIN:
        word = "refuted (better)"
    else:
        word = "refuted" if dice["high"] < -MARGIN else "open"
    worse = _worse_elsewhere(by_set, pooled) if word in ("confirmed", "refuted (better)") else ()
    against = tuple(name for name, row in _rows_of(by_set, "dice")
                    if (row["low"] > 0 > dice["difference"])
                    or (row["high"] < 0 < dice["difference"]))  # fmt: skip
    return Answer(f"{word}, trade-off" if worse else word, worse, against, below)


def plainly_safe(by_set: Mapping[str, pd.DataFrame], pooled: pd.DataFrame) -> str:
    """The word for the fourth question by intervals without patients of unseen kinds."""
    plain = {
        name: table.assign(low=table["plain_low"], high=table["plain_high"])
        for name, table in by_set.items()
    }
    return _is_safe(plain, pooled).word


def _rows_of(by_set: Mapping[str, pd.DataFrame], score: str) -> list[tuple[str, pd.Series]]:
    """The row of a score on each data set of the mean."""
    return [
        (name, table.set_index("score").loc[score])
        for name, table in by_set.items()
        if name != HEALTHY and (table["score"] == score).any()
    ]


def _worse_elsewhere(by_set: Mapping[str, pd.DataFrame], pooled: pd.DataFrame) -> tuple[str, ...]:
    means = pooled.set_index("score")
    rows = [(score, means.loc[score]) for score in WORSE_ELSEWHERE if score in means.index]
    if HEALTHY in by_set:
        on_healthy = by_set[HEALTHY].set_index("score")
        if "false_alarm" in on_healthy.index:
            rows.append(("false_alarm", on_healthy.loc["false_alarm"]))
    return tuple(
        score
        for score, row in rows
        if (row["low"] > 0 if score in LOWER_IS_BETTER else row["high"] < 0)
    )


def _is_safe(by_set: Mapping[str, pd.DataFrame], pooled: pd.DataFrame) -> Answer:
    dice, distance = _rows_of(by_set, "dice"), _rows_of(by_set, "hd95")
    failed = [name for name, row in dice if row["high"] < -MARGIN]
    failed += [
        name
        for name, row in distance
        if row["low"] > 0 and row["difference"] > MUCH_FARTHER * row["of_reference"]
    ]
    in_doubt = [name for name, row in dice if row["low"] <= -MARGIN]
    in_doubt += [name for name, row in distance if row["low"] > 0]
    if failed:
        return Answer("failed", against=tuple(dict.fromkeys(failed)))
    if in_doubt or not pooled.set_index("score").loc["dice", "low"] > 0:
        return Answer("open", against=tuple(dict.fromkeys(in_doubt)))
    return Answer("met")
