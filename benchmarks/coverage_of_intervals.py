"""How often the 95 % interval of `dilated-ce compare` holds the truth, by simulation.

    make intervals                      writes results/statistics/coverage.csv

Differences are drawn from a model whose mean is known: a mean, an effect of each seed (or of each
run, with folds), of each patient and of each case, and noise. The interval should hold the mean in
95 of 100 studies, whatever the number of seeds and patients.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from dilated_ce.study.statistics.bootstrap import Scores

OUT = Path(__file__).resolve().parents[1] / "results" / "statistics" / "coverage.csv"
TRUTH = 0.02


def draw_study(
    random: np.random.Generator,
    seeds: int,
    groups: int,
    seed_effect: float,
    folds: int = 1,
    cases_per_group: int = 1,
    skewed: bool = False,
) -> pd.Series:
    """Differences of two losses by seed, fold, group and case; their true mean is TRUTH."""

    def effect(size: float, *shape: int) -> np.ndarray:
        if skewed:  # a standardised exponential
            return size * (random.exponential(size=shape) - 1)
        return random.normal(scale=size, size=shape)

    shape = (seeds, groups, cases_per_group)
    seed, group, case = np.indices(shape).reshape(3, -1)
    fold = group % folds
    difference = (
        TRUTH
        + effect(0.1, groups)[group]
        + random.normal(scale=seed_effect, size=(seeds, folds))[seed, fold]
        + effect(0.05, groups, cases_per_group)[group, case]
        + random.normal(scale=0.05, size=shape).ravel()
    )
    names = ["seed", "fold", "group", "case"]
    index = pd.MultiIndex.from_arrays([seed, fold, group, case], names=names)
    return pd.Series(difference, index)


def coverage(studies: int, **model: float) -> float:
    """The share of studies whose interval holds the truth."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(studies):
        low, high = Scores(draw_study(random, **model)).interval(resamples=1000)
        hits += low <= TRUTH <= high
    return hits / studies


GRID = [
    {"seeds": seeds, "groups": groups, "seed_effect": effect}
    for seeds, groups, effect in itertools.product((2, 3, 5, 10), (10, 30, 100), (0.0, 0.01, 0.05))
] + [
    {"seeds": 1, "groups": 30, "seed_effect": 0.0},
    {"seeds": 3, "groups": 30, "seed_effect": 0.01, "skewed": True},
    {"seeds": 5, "groups": 100, "seed_effect": 0.01, "skewed": True},
    {"seeds": 3, "groups": 30, "seed_effect": 0.01, "cases_per_group": 4},
    {"seeds": 2, "groups": 50, "seed_effect": 0.02, "folds": 5},
    {"seeds": 3, "groups": 50, "seed_effect": 0.02, "folds": 5},
]


def main() -> None:
    """Simulate the whole grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies per row")
    studies = parser.parse_args().studies
    defaults = {"folds": 1, "cases_per_group": 1, "skewed": False}
    rows = [
        {
            **model,
            **{k: v for k, v in defaults.items() if k not in model},
            "studies": studies,
            "coverage": coverage(studies, **model),
        }
        for model in track(GRID, "simulating")
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(OUT, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
