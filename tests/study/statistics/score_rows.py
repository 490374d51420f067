"""Scores by loss, seed and case, as rows of `cases.csv`."""

import numpy as np
import pandas as pd


def table(scores, groups=None):
    """Scores (loss, seed, case) as rows."""
    names = [f"c{number}" for number in range(next(iter(scores.values())).shape[1])]
    rows = [
        (loss, seed, 0, name, (groups or names)[place], "lesion", value)
        for loss, values in scores.items()
        for seed, of_seed in enumerate(values)
        for place, (name, value) in enumerate(zip(names, of_seed, strict=True))
    ]
    columns = ["loss", "seed", "fold", "case", "group", "class", "dice"]
    return pd.DataFrame(rows, columns=columns).assign(hd95=lambda rows: rows["dice"])


def draw(seed=0, losses="abc", seeds=3, cases=20):
    random = np.random.default_rng(seed)
    return {loss: random.random((seeds, cases)) + 0.1 * n for n, loss in enumerate(losses)}
