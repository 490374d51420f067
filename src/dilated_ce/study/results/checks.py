"""Why rows of scores cannot be compared: problems in words, none where all is well."""

import pandas as pd

from dilated_ce.study.wording import count, some

FEW = 5  # different scores: of fewer two trainings may have the same by chance
RUN = ["dataset", "seed", "fold"]
CASE = [*RUN, "case"]
ROW = [*CASE, "class"]


def repeated(table: pd.DataFrame) -> list[str]:
    """Rows that are there twice."""
    twice = table[table.duplicated([*ROW, "loss"])]
    if twice.empty:
        return []
    shown = some(
        [f"{row['case']}, {row['class']} of {row['loss']}" for _, row in twice.head(3).iterrows()],
        3,
    )
    return [
        f"{count(len(twice), 'row')} there twice ({shown}): keep one of them; if they are repeats "
        "of a training, say so in a column seed, and folds in a column fold; if they are several "
        "images of a patient, name the image: --column case=COLUMN"
    ]


def in_several_folds(table: pd.DataFrame) -> list[str]:
    """Cases that several folds test: each would count as another patient in each of them."""
    folds = table.groupby(["dataset", "case"], sort=False)["fold"].nunique()
    several = folds[folds > 1]
    if several.empty:
        return []
    shown = some([str(case) for _, case in several.index], 3)
    return [
        f"{count(len(several), 'case')} in several folds ({shown}), where a cross-validation tests "
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
    several = table.groupby(["dataset", "case"], sort=False)["group"].nunique()
    several = several[several > 1]
    if several.empty:
        return []
    return [f"cases of two patients: {some([case for _, case in several.index], 3)}"]


def prefix(dataset: str) -> str:
    """The data set that a problem is of, if it has a name."""
    return f"{dataset}: " if dataset else ""
