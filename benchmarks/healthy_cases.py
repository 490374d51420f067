"""What a comparison says of false alarms, by simulation with images and the real scores.

    make healthy                        writes results/statistics/healthy.csv

Two losses find the lesion of every ill patient alike. In healthy patients the reference marks
nothing, and the other marks a spot in some of them. How large is the difference of Dice, which
verdict does the loss get, and what was said when an empty truth had no score if nothing was
predicted and 0 otherwise, and pairs without both scores were dropped (`old_difference`)?
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from dilated_ce.study.scores.score import score_case
from dilated_ce.study.statistics.comparison import compare_family
from dilated_ce.study.statistics.side_by_side import side_by_side
from dilated_ce.study.statistics.verdict import judge_family

OUT = Path(__file__).resolve().parents[1] / "results" / "statistics" / "healthy.csv"
SIDE = 48


def draw_cases(random: np.random.Generator, ill: int, healthy: int, alarms: int) -> pd.DataFrame:
    """Rows of `cases.csv`, of one seed more for each of three."""
    rows = []
    for seed in range(3):
        for patient in range(ill + healthy):
            truth = np.zeros((SIDE, SIDE), np.uint8)
            if patient < ill:
                truth[10:26, 10:26] = 1
            for loss in ("reference", "loss"):
                found = np.roll(truth, int(random.integers(0, 4)), 0)
                if loss == "loss" and ill <= patient < ill + alarms:
                    found[40:43, 40:43] = 1
                [scores] = score_case(found, truth, 2, spacing=(1, 1), tolerance=2)
                who = {"loss": loss, "seed": seed, "fold": 0, "case": patient, "group": patient}
                rows.append({**who, "class": "lesion", **scores})
    return pd.DataFrame(rows)


def old_difference(cases: pd.DataFrame) -> float:
    """Points of Dice as they came out before, pairs without both scores dropped."""
    right = (cases["true_voxels"] == 0) & (cases["predicted_voxels"] == 0)
    dice = cases.assign(dice=cases["dice"].mask(right, math.nan))
    table = dice.pivot_table(index=["seed", "case"], columns="loss", values="dice", dropna=False)
    return float(100 * (table["loss"] - table["reference"]).mean())


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ill", type=int, default=20, help="patients with a lesion")
    parser.add_argument("--healthy", type=int, default=80, help="patients without one")
    options = parser.parse_args()
    rows = []
    for share in track((0.0, 0.1, 0.3, 1.0), "simulating"):
        alarms = round(share * options.healthy)
        random = np.random.default_rng(0)
        cases = draw_cases(random, options.ill, options.healthy, alarms)
        [verdict] = judge_family(compare_family(side_by_side(cases), "reference"), 0.015)
        by_metric = {comparison.metric: comparison for comparison, _ in verdict.sides}
        rows.append(
            {
                "ill": options.ill,
                "healthy": options.healthy,
                "with_false_alarm": alarms,
                "old_difference": round(old_difference(cases), 2),
                "difference": round(100 * by_metric["dice"].difference, 2),
                "false_alarms": round(100 * by_metric["false_alarm"].difference, 2),
                "verdict": verdict.word,
            }
        )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(OUT, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
