"""How often the 95 % interval of `dilated-ce compare` holds the truth, by simulation.

    make intervals                      writes results/statistics/coverage.csv

Scores of two losses are drawn from a model whose mean difference is known: an effect of each seed
(or of each run, with folds), of each patient and of each case, and noise. With tails, one of the
losses fails wholly, a score of 0, on a small share of the patients: under every seed (`patient`),
or under one and not another (`run`); or either of the losses does, on patients of its own (`both`).
The interval should hold the mean difference in 95 of 100 studies, whatever the number of seeds and
patients, and with tails in 90 from 30 patients on.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from dilated_ce.study.statistics.comparison import falls_of
from dilated_ce.study.statistics.interval import estimate

OUT = Path(__file__).resolve().parents[1] / "results" / "statistics" / "coverage.csv"
TRUTH = 0.02
SCORE = 0.8  # of the reference
MODEL = {
    "seed_effect": 0.01,
    "patient_effect": 0.1,
    "folds": 1,
    "cases_per_group": 1,
    "skewed": False,
    "tail": "",
    "share": 0.0,
}


def draw_study(random: np.random.Generator, seeds: int, groups: int, **model) -> pd.DataFrame:
    """Scores of both losses by seed, fold, group and case."""
    model = {**MODEL, **model}

    def effect(size: float, *shape: int) -> np.ndarray:
        if model["skewed"]:  # a standardised exponential
            return size * (random.exponential(size=shape) - 1)
        return random.normal(scale=size, size=shape)

    shape = (seeds, groups, model["cases_per_group"])
    seed, group, case = np.indices(shape).reshape(3, -1)
    fold = group % model["folds"]
    spread = model["patient_effect"]
    difference = (
        TRUTH
        + effect(spread, groups)[group]
        + random.normal(scale=model["seed_effect"], size=(seeds, model["folds"]))[seed, fold]
        + effect(spread / 2, *shape[1:])[group, case]
        + random.normal(scale=spread / 2, size=shape).ravel()
    )
    scores = pd.DataFrame({"loss": SCORE + difference, "reference": SCORE})
    failing = {"patient": [(1, "loss")], "run": [(seeds, "loss")]}
    both = [(1, "loss"), (1, "reference")]
    for times, name in failing.get(model["tail"], both if model["tail"] else []):
        fails = random.random((times, groups)) < model["share"]
        scores.loc[np.broadcast_to(fails, (seeds, groups))[seed, group], name] = 0.0
    names = ["seed", "fold", "group", "case"]
    scores.index = pd.MultiIndex.from_arrays([seed, fold, group, case], names=names)
    return scores


def truth_of(model: dict) -> float:
    """The mean difference that a study estimates."""
    share = model.get("share", 0.0)
    of_loss = (1 - share) * (SCORE + TRUTH)
    return of_loss - SCORE * (1 - share if model.get("tail") == "both" else 1)


def coverage(studies: int, guarded: bool = True, **model) -> float:
    """The share of studies whose interval holds the truth; unguarded, by Student's t alone."""
    random = np.random.default_rng(0)
    truth, hits = truth_of(model), 0
    for _ in range(studies):
        scores = draw_study(random, **model)
        falls = falls_of(scores["loss"], scores["reference"], "dice") if guarded else (0.0, 0.0)
        low, high = estimate(scores["loss"] - scores["reference"]).interval(falls=falls)
        hits += low <= truth <= high
    return hits / studies


GRID = [
    {"seeds": seeds, "groups": groups, "seed_effect": effect}
    for seeds, groups, effect in itertools.product((2, 3, 5), (11, 30, 100), (0.0, 0.01, 0.05))
] + [
    {"seeds": 1, "groups": 30, "seed_effect": 0.0},
    {"seeds": 3, "groups": 30, "skewed": True},
    {"seeds": 5, "groups": 100, "skewed": True},
    {"seeds": 3, "groups": 30, "cases_per_group": 4},
    {"seeds": 2, "groups": 50, "seed_effect": 0.02, "folds": 5},
    {"seeds": 3, "groups": 50, "seed_effect": 0.02, "folds": 5},
]
TAILS = [
    {"seeds": seeds, "groups": groups, "patient_effect": spread, "tail": tail, "share": share}
    for seeds, groups, spread, tail, share in itertools.product(
        (1, 3, 5), (11, 20, 30, 100), (0.02, 0.1), ("patient", "run", "both"), (0.02, 0.05)
    )
    if not (seeds == 1 and tail == "run")
]


def main() -> None:
    """Simulate the whole grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=300, help="simulated studies per row")
    studies = parser.parse_args().studies
    rows = [
        {
            **{"seeds": model["seeds"], "groups": model["groups"]},
            **{**MODEL, **model},
            "studies": studies,
            "coverage": coverage(studies, **model),
            "without_allowance": coverage(studies, guarded=False, **model),
        }
        for model in track([*GRID, *TAILS], "simulating")
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(OUT, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
