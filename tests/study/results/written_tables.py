"""Tables of scores as people have them."""

import numpy as np
import pandas as pd

from dilated_ce.study.results.tables import read_table


def scores(methods=("ce", "dbce"), seeds=1, cases=24, classes=("liver", "tumor"), shift=0):
    """A long table in which every method is better than the one before it."""
    random = np.random.default_rng(shift)
    rows = []
    for seed in range(seeds):
        for case in range(cases):
            for name in classes:
                base = random.uniform(0.4, 0.7)
                for place, method in enumerate(methods):
                    better = (0.2 + 0.02 * shift) * place / len(methods)
                    dice = base + better + 0.005 * random.normal()
                    rows.append((method, seed, f"p{case:02}", name, dice, 10 * (1 - dice)))
    columns = ["method", "seed", "case", "class", "dice", "hd95"]
    return pd.DataFrame(rows, columns=columns)


def write(path, table, **how):
    table.to_csv(path, index=False, **how)
    return path


def read_text(tmp_path, text, **how):
    path = tmp_path / "a.csv"
    path.write_text(text)
    return read_table(path, **how)
