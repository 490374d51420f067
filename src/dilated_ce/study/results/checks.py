"""Why rows of scores cannot be compared: problems in words, none where all is well."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from dilated_ce.study.data.paths import PICTURE_ENDINGS, VOLUME_ENDINGS
from dilated_ce.study.scores.table import SCORES
from dilated_ce.study.wording import count, some

FEW = 5  # different scores: of fewer two trainings may have the same by chance
RUN = ["dataset", "seed", "fold"]
CASE = [*RUN, "case"]
ROW = [*CASE, "class"]


def repeated(table: pd.DataFrame) -> list[str]:
    """Rows that are there twice."""
    keys = [*ROW, "loss"]
    twice = table[table.duplicated(keys)]
    if twice.empty:
        return []
    shown = some(
        [f"{row['case']}, {row['class']} of {row['loss']}" for _, row in twice.head(3).iterrows()],
        3,
    )
    said = f"{count(len(twice), 'row')} there twice ({shown}): "
    alike = table[table.duplicated(keys, keep=False)]
    groups = alike.groupby(keys, sort=False)["group"].nunique()
    scores = [name for name in SCORES if name in table]
    if (groups > 1).all():
        patients = alike["group"].unique().astype(str).tolist()
        return [
            f"{said}they are of other patients ({some(patients, 3)}), so that these names of cases "
            "are not the whole name; put patient and image into one column, and name it: "
            "--column case=COLUMN"
        ]
    if len(alike.drop_duplicates([*keys, *scores])) == len(alike.drop_duplicates(keys)):
        return [f"{said}they have the same scores, too: keep one of them"]
    return [
        f"{said}keep one of them; if they are repeats of a training, say so in a column seed, and "
        "folds in a column fold; if they are several images of a patient, name the image: "
        "--column case=COLUMN"
    ]


def in_several_folds(table: pd.DataFrame, without: Sequence[str] = ()) -> list[str]:
    """Cases that several folds test: each would count as another patient in each of them.

    Args:
        table: the scores of all methods.
        without: methods whose sources say nothing of folds, where those of others do.
    """
    folds = table.groupby(["dataset", "case"], sort=False)["fold"].nunique()
    several = folds[folds > 1]
    if several.empty:
        return []
    cases = f"{count(len(several), 'case')} in several folds"
    if (table.groupby(["dataset", "loss", "case"], sort=False)["fold"].nunique() == 1).all():
        dataset, case = several.index[0]
        rows = table[(table["dataset"] == dataset) & (table["case"] == case)]
        shown = ", ".join(
            f"fold {row['fold']} under {row['loss']}"
            for _, row in rows.drop_duplicates("fold").iterrows()
            if row["loss"] not in without
        )
        none = f"{some(list(without))} without folds" if without else ""
        return [
            f"{cases}, as the folds of the methods differ ({prefix(dataset)}{case}: "
            f"{', '.join(filter(None, [shown, none]))}): each case needs the same fold under all "
            "methods; write it in a column fold of every source, or take the column out of all"
        ]
    shown = some([str(case) for _, case in several.index], 3)
    return [
        f"{cases} ({shown}), where a cross-validation tests "
        "each in one: if these are several trainings judged on the same cases, they are seeds: "
        "--column seed=fold; if a cross-validation was repeated with other splits, give every "
        "training a seed of its own, and leave the fold out"
    ]


def told_twice(table: pd.DataFrame) -> list[str]:
    """Seeds of a method with the very same scores: the same results given twice."""
    if "dice" not in table:
        return []
    problems = []
    for (name, method, fold), of in table.groupby(["dataset", "loss", "fold"], sort=False):
        if of["seed"].nunique() < 2 or of.duplicated(["seed", "case", "class"]).any():
            continue
        by_seed = of.pivot(index=["case", "class"], columns="seed", values="dice").dropna(how="all")
        if len(by_seed) < FEW or by_seed.iloc[:, 0].nunique() < FEW:
            continue  # that few may agree by chance, or where all is 0 or 1
        columns = by_seed.T
        twice = columns[columns.duplicated(keep=False)]
        if len(twice):
            seeds = ", ".join(map(str, twice.index))
            problems.append(
                f"{prefix(name)}{method}, fold {fold}: seeds {seeds} have the same Dice in all of "
                f"{count(len(by_seed), 'row')}: results that are given twice? Give each training "
                "once"
            )
    return problems


def other_truths(table: pd.DataFrame) -> list[str]:
    """Cases whose truth is of another size under another method or in another run."""
    if "true_voxels" not in table:
        return []
    sizes = table.groupby(["dataset", "case", "class"], sort=False)["true_voxels"]
    several = sizes.nunique()
    several = several[several > 1]
    if several.empty:
        return []
    dataset, case, class_name = several.index[0]
    rows = table[(table["dataset"] == dataset) & (table["case"] == case)
                 & (table["class"] == class_name)].drop_duplicates("true_voxels")  # fmt: skip
    shown = ", ".join(
        f"{size:g} voxels under {method}"
        for method, size in zip(rows["loss"], rows["true_voxels"], strict=True)
    )
    return [
        f"{count(len(several), 'truth')} of different sizes ({prefix(dataset)}{case}, "
        f"{class_name}: {shown}): the labels were changed in between, or lie on another grid; "
        "judge all methods by the same labels"
    ]


def other_classes(table: pd.DataFrame) -> list[str]:
    """Methods whose classes are other ones, within a data set."""
    problems = []
    for name, of_set in table.groupby("dataset", sort=False):
        classes = {
            method: tuple(sorted(of["class"].unique()))
            for method, of in of_set.groupby("loss", sort=False)
        }
        if len(set(classes.values())) > 1:
            shown = "; ".join(
                f"{method}: {some(list(of))}" for method, of in list(classes.items())[:6]
            )
            problems.append(f"{prefix(name)}the classes differ ({shown}): name them alike")
    return problems


def two_groups(table: pd.DataFrame) -> list[str]:
    """Cases that belong to two patients."""
    by_case = table.groupby(["dataset", "case"], sort=False)["group"].unique()
    several = by_case[by_case.str.len() > 1]
    if several.empty:
        return []
    _, case = several.index[0]
    return [
        f"cases of two patients: {some([case for _, case in several.index], 3)} ({case}: "
        f"{some([str(group) for group in several.iloc[0]])}): the sources name other patients, or "
        "some have no column of them, where each case counts as one; give every source the same "
        "column, or say it for all: --group-by"
    ]


def given_twice(table: pd.DataFrame) -> list[str]:
    """Notes of methods with the very same Dice as another: one result under two names?"""
    notes = []
    for name, of_set in table.groupby("dataset", sort=False):
        by_method = of_set.pivot_table(
            index=["seed", "fold", "case", "class"], columns="loss", values="dice", dropna=False
        )
        methods = [method for method in of_set["loss"].unique() if method in by_method]
        for place, method in enumerate(methods):
            for other in methods[place + 1 :]:
                both = by_method[[method, other]].dropna()
                same = len(both) >= FEW and (both[method] == both[other]).all()
                if same and both[method].nunique() >= FEW:
                    notes.append(
                        f"{prefix(name)}{method} and {other} have the same Dice in all of "
                        f"{count(len(both), 'row')}: one result under two names?"
                    )
    return notes


def never_predicted(table: pd.DataFrame) -> list[str]:
    """Notes of classes that the truth holds, and that a method predicts nowhere."""
    if not {"true_voxels", "predicted_voxels"} <= set(table):
        return []
    nowhere: dict[tuple[str, str], list[str]] = {}  # classes by the data set and the methods
    for (name, of_class), rows in table.groupby(["dataset", "class"], sort=False):
        found = rows.groupby("loss", sort=False)["predicted_voxels"]
        none = (found.max() == 0) & (found.count() == found.size())
        if none.any() and rows["true_voxels"].max() > 0:
            who = "any method" if none.all() else some(none.index[none].astype(str).tolist())
            nowhere.setdefault((name, who), []).append(str(of_class))
    return [
        f"{prefix(name)}the truth holds {some(classes)}, predicted in no case by {who}: do the "
        "predictions number their classes otherwise?"
        for (name, who), classes in nowhere.items()
    ]


def alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in form alone: spaces, endings of files, letters, 1.0 for 1.

    Examples:
        >>> alike(["p00", "p01", "P00 ", "p01.nii.gz", "p1"])
        [('p00', 'P00 '), ('p01', 'p01.nii.gz')]
    """
    first: dict[str, str] = {}
    pairs = []
    for name in names:
        form = re.sub(r"\s+", " ", name.strip().casefold())
        ending = next((e for e in (*VOLUME_ENDINGS, *PICTURE_ENDINGS) if form.endswith(e)), "")
        form = re.sub(r"^(\d+)\.0+$", r"\1", form.removesuffix(ending).rsplit("/", 1)[-1])
        if form in first:
            pairs.append((first[form], name))
        else:
            first[form] = name
    return pairs


def shown_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """Pairs of names, in words."""
    return some([f"{one!r} and {other!r}" for one, other in pairs], 3)


def methods_alike(table: pd.DataFrame) -> list[str]:
    """Methods whose names differ in form alone."""
    pairs = alike(dict.fromkeys(table["loss"]))
    if not pairs:
        return []
    return [
        f"names of methods differ in form alone: {shown_pairs(pairs)}: write one method alike "
        "everywhere; if they are two, give them other names"
    ]


def no_run_shared(table: pd.DataFrame, reference: str) -> list[str]:
    """Methods without a seed and fold that the reference has: nothing of them is compared."""
    problems = []
    for name, of_set in table.groupby("dataset", sort=False):
        runs = {
            method: sorted(set(zip(of["seed"], of["fold"], strict=True)))
            for method, of in of_set.groupby("loss", sort=False)
        }
        for method, own in runs.items():
            if not set(own) & set(runs[reference]):
                which = "fold" if {s for s, _ in own} & {s for s, _ in runs[reference]} else "seed"
                place = 1 if which == "fold" else 0
                shown, others = (
                    some(sorted({str(run[place]) for run in part}))
                    for part in (own, runs[reference])
                )
                problems.append(
                    f"{prefix(name)}{method} has {which} {shown}, and {reference}, the reference, "
                    f"has {which} {others}: no run is shared, so that nothing can be compared; "
                    + (
                        "number the seeds of each method 0, 1, 2, ..., or leave the column out if "
                        "each has one"
                        if which == "seed"
                        else "test all methods on the same folds"
                    )
                )
    return problems


def prefix(dataset: str) -> str:
    """The data set that a problem is of, if it has a name."""
    return f"{dataset}: " if dataset else ""
