"""The answers of the evidence study: from the scores of every case to the tables that pages quote.

    python results/evidence/answers.py [--group main]

It opens the test parts of a group when all of its runs on all data sets are there, and not before:
see results/PROTOCOL.md. Without --group it takes the groups that are whole. It writes, beside
itself, `scores.csv` (means of every arm), `by_set.csv` and `over_sets.csv` (differences with their
intervals), `answers.csv` (the words), `sensitivity.csv` (the same by other analyses), and
`choices.csv` (the radius and rate of every arm). The group `short` in them is `main` on the sets
and folds that `long` has, so that the two schedules stand side by side on the same cases.
"""

import argparse
import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from claims import CASES, LONG_CASES
from questions import (
    HEALTHY,
    QUESTIONS,
    SHOWN,
    answer,
    mean_of,
    on_data_set,
    over_data_sets,
    plainly_safe,
    scores_of,
)
from sensitivity import sensitivity
from sets import GROUPS, LONG_STEPS, SETS, runs_of

from dilated_ce.study.scores.table import read_cases

HERE = Path(__file__).parent
OURS = ("4", "5")  # the questions on our own rule
SEARCHED = "kvasir"  # whose test part the search for the adaptive rule has seen, on the same split


class MissingRunsError(Exception):
    """A group is not whole."""


def read_group(group: str) -> dict[str, pd.DataFrame]:
    """The scores of all arms that a group is about, by data set.

    Raises:
        MissingRunsError: a run is missing; how many, and one of them, are said.
    """
    is_long = group == "long"
    names = tuple(LONG_STEPS) if is_long else tuple(SETS)
    arms, _ = GROUPS[group]
    beside = {q.reference for q in QUESTIONS.get(group, ())} | {
        q.arm for q in QUESTIONS.get(group, ())
    }
    tables, missing = {}, []
    for name in names:
        path = HERE / name / (LONG_CASES if is_long else CASES)
        table = read_cases(path) if path.exists() else pd.DataFrame(columns=["arm", "seed", "fold"])
        runs = set(table[["arm", "seed", "fold"]].itertuples(index=False, name=None))
        asked = pd.MultiIndex.from_tuples(runs_of(group, SETS[name]))
        for fold, seed in asked:
            missing += [f"{name} {arm} seed {seed} fold {fold}" for arm in sorted({*arms, *beside})
                        if (arm, seed, fold) not in runs]  # fmt: skip
        # Runs of other groups lie in the same file, whole or not.
        own = table["arm"].isin({*arms, *beside})
        own &= pd.MultiIndex.from_frame(table[["fold", "seed"]]).isin(asked)
        tables[name] = table[own]
    if missing:
        raise MissingRunsError(
            f"{group}: {len(missing)} runs are missing, such as {missing[0]}; the test parts stay "
            "closed until all are there: make studies"
        )
    return tables


def short_beside_long(short: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The short schedule on the sets and folds that the long one has, to stand beside it."""
    beside = {}
    for name in LONG_STEPS:
        folds = {fold for fold, _ in runs_of("long", SETS[name])}
        beside[name] = short[name][short[name]["fold"].isin(folds)]
    return beside


def answer_group(group: str, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of a group, by the name of their file."""
    scores, by_set, over_sets, answers, others = [], [], [], [], []
    for name, table in tables.items():
        scores.append(means_of(table).assign(set=name))
    for question in QUESTIONS.get(group, QUESTIONS["main"]):
        who = {"question": question.number, "arm": question.arm, "reference": question.reference}
        found = {name: on_data_set(table, question) for name, table in tables.items()}
        for name, table in found.items():
            by_set.append(table.assign(set=name, **who))
        spared = {name: table for name, table in found.items() if name != SEARCHED}
        variants = {"all": found, f"without {SEARCHED}": spared}
        for variant, of_sets in variants.items():
            if variant != "all" and (question.number not in OURS or len(of_sets) < 3):
                continue
            pooled = over_data_sets(of_sets, question.together)
            over_sets.append(pooled.assign(over=variant, **who))
            said = answer(question, of_sets, pooled)
            if question.number in OURS or said.word:
                others.append(sensitivity(of_sets, question).assign(over=variant, **who))
            if said.word:
                lists = {key: " ".join(value) for key, value in dataclasses.asdict(said).items()
                         if key != "word"}  # fmt: skip
                plain = plainly_safe(of_sets, pooled) if question.kind == "safe" else ""
                answers.append(
                    {**who, "over": variant, "word": said.word, "plain_word": plain, **lists}
                )
    found = {"scores": scores, "by_set": by_set, "over_sets": over_sets, "sensitivity": others}
    written = {name: pd.concat(parts) for name, parts in found.items() if parts}
    # A group may have no question that ends with a word.
    return written | ({"answers": pd.DataFrame(answers)} if answers else {})


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """The means of every score of every arm on one data set."""
    scores = scores_of(table, *table["arm"].unique())
    there = [metric for metric in SHOWN if scores.has(metric, scores.losses)]
    means = pd.DataFrame({metric: mean_of(scores, metric) for metric in there})
    if "predicted_voxels" in table:  # the share of masks of which nothing was found
        there_is = table[table["true_voxels"] > 0]
        means["empty"] = (there_is["predicted_voxels"] == 0).groupby(there_is["arm"]).mean()
    return means.rename_axis("arm").reset_index()


def choices(groups: Iterable[str]) -> pd.DataFrame:
    """The loss, with its radius, and the learning rate that each arm of the groups took."""
    arms = {arm for group in groups for arm in GROUPS[group][0]}
    rows = [
        read_cases(path)[["arm", "loss", "rate"]].drop_duplicates().assign(set=name)
        for name in SETS
        if (path := HERE / name / CASES).exists() and name != HEALTHY
    ]
    taken = pd.concat(rows)
    return taken.loc[taken["arm"].isin(arms), ["set", "arm", "loss", "rate"]]


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--group", choices=[*GROUPS], nargs="*", help="those that are whole")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asked = parser.parse_args().group
    whole: dict[str, dict[str, pd.DataFrame]] = {}
    for group in asked or GROUPS:
        try:
            whole[group] = read_group(group)
        except MissingRunsError as error:
            if asked:
                raise SystemExit(str(error)) from None
            logging.info("%s", error)
    if not whole:
        raise SystemExit("No group is whole: make studies")
    wanted = choices(whole)
    if whole.keys() >= {"main", "long"}:
        whole["short"] = short_beside_long(whole["main"])
    found: dict[str, list[pd.DataFrame]] = {}
    for group, tables in whole.items():
        for name, table in answer_group(group, tables).items():
            found.setdefault(name, []).append(table.assign(group=group))
    for name, parts in {**found, "choices": [wanted]}.items():
        table = pd.concat(parts)
        first = [c for c in ("group", "over", "set", "question", "arm", "reference") if c in table]
        table = table[[*first, *(c for c in table if c not in first)]]
        table.round(5).to_csv(HERE / f"{name}.csv", index=False, lineterminator="\n")
        logging.info("%s.csv: %d rows", name, len(table))


if __name__ == "__main__":
    main()
