"""How often a comparison of losses that do not differ has a wrong word, by simulation.

    make family                         writes results/statistics/family.csv

Losses with the same distribution are trained with the same seeds and tested on the same patients,
by the scores of the family. A word is wrong if a loss is called better, worse or a trade-off, for
other patients and other seeds. That should happen in at most 5 of 100 studies; `raw` is how often
at least one of the intervals leaves zero out if each holds on its own. What holds "in these runs"
is no error here: networks of different seeds do differ.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from dilated_ce.study.statistics.comparison import FAMILY, compare_family, compare_to
from dilated_ce.study.statistics.side_by_side import side_by_side
from dilated_ce.study.statistics.verdict import judge_family

OUT = Path(__file__).resolve().parents[1] / "results" / "statistics" / "family.csv"
WRONG = {"better", "worse", "trade-off"}
MARGIN = 0.015
CORRELATION = 0.6  # of the scores of a case
SIZES = (0.05, 0.05)  # effect of a patient, and of a patient in a run


def draw_study(
    random: np.random.Generator, losses: int, seeds: int, groups: int, seed_effect: float
) -> pd.DataFrame:
    """Scores of losses that do not differ, as rows of `cases.csv`."""
    shape = (losses, len(FAMILY), seeds, groups)

    def effect(size: float, *axes: int) -> np.ndarray:
        """Drawn along some of the axes; partly the same for all scores."""
        sides = [side if axis in axes else 1 for axis, side in enumerate(shape)]
        alone = random.normal(size=sides)
        sides[1] = 1
        shared = random.normal(size=sides)
        return size * (np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * alone)

    of_patient, of_run = SIZES
    values = 0.8 + effect(0.1, 1, 3) + effect(seed_effect, 0, 1, 2)
    values = values + effect(of_patient, 0, 1, 3) + effect(of_run, 0, 1, 2, 3)
    loss, seed, group = np.indices((losses, seeds, groups)).reshape(3, -1)
    table = pd.DataFrame(
        {
            "loss": np.char.add("loss", loss.astype(str)),
            "seed": seed,
            "fold": 0,
            "group": group,
            "case": group,
            "class": "lesion",
        }
    )
    return table.assign(
        **{name: values[:, place].reshape(-1) for place, name in enumerate(FAMILY)},
    )


def errors(studies: int, **model) -> tuple[float, float]:
    """The share of studies with a wrong word, and with an interval that leaves zero out alone."""
    random = np.random.default_rng(0)
    words = raw = 0
    for _ in range(studies):
        scores = side_by_side(draw_study(random, **model))
        verdicts = judge_family(compare_family(scores, "loss0"), MARGIN)
        words += any(verdict.word in WRONG for verdict in verdicts)
        alone = [found for name in FAMILY for found in compare_to(scores, "loss0", metric=name)]
        raw += any(found.low > 0 or found.high < 0 for found in alone)
    return words / studies, raw / studies


GRID = [
    {"losses": 8, "seeds": seeds, "groups": groups, "seed_effect": effect}
    for seeds, groups in ((3, 30), (5, 100))
    for effect in (0.0, 0.03)
]


def main() -> None:
    """Simulate the whole grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=100, help="simulated studies per row")
    studies = parser.parse_args().studies
    rows = []
    for model in track(GRID, "simulating"):
        words, raw = errors(studies, **model)
        rows.append({**model, "studies": studies, "wrong_word": words, "raw": raw})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(OUT, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
