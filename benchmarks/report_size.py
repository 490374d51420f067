"""How long `dilated-ce report` takes on a large table of scores, and how much memory.

    make report-size                    writes results/benchmark/report_size.csv

Scores are drawn for every case under every method, seed and class, as in `cases.csv`: with surface
and lesion scores, absent classes, and two cases per patient. The command is a process of its own,
from the table on the disk to the written page. Beside the time on the clock stands that of the
processor, which other work on the machine does not change.
"""

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from dilated_ce.study.scores.table import LOWER_IS_BETTER, SCORES

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark" / "report_size.csv"
SIZES = ((500, 3, 5, 3), (2000, 5, 9, 1), (5000, 5, 10, 3))
IN_MM = 20.0  # the distance that belongs to a score of 0
OF_TRUTH = ("recall", "hd95", "assd", "lesion_recall")  # missing where a class is absent


def draw(cases: int, seeds: int, methods: int, classes: int) -> pd.DataFrame:
    """A table of scores."""
    random = np.random.default_rng(0)
    method, seed, case, place = np.indices((methods, seeds, cases, classes)).reshape(4, -1)
    absent = (random.random((cases, classes)) < 0.1)[case, place]
    quality = random.normal(0.75, 0.1, (cases, classes))[case, place] + 0.003 * method
    table = pd.DataFrame(
        {
            "method": np.array([f"method {n}" for n in range(methods)], object)[method],
            "seed": seed,
            "fold": case % 5,
            "case": np.array([f"case_{n:05}" for n in range(cases)], object)[case],
            "group": np.array([f"patient_{n // 10:05}" for n in range(0, 5 * cases, 5)], object)[
                case
            ],
            "class": np.array([f"class {n}" for n in range(classes)], object)[place],
        }
    )
    for score in SCORES:
        values = (quality + random.normal(0, 0.05, len(table))).clip(0, 1)
        if score in LOWER_IS_BETTER:
            values = 1 - values
        if score in ("hd95", "assd"):
            values *= IN_MM
        if score in OF_TRUTH:
            values[absent] = np.nan
        if score in ("false_alarm", "false_volume"):
            values[~absent] = np.nan
        table[score] = values
    return table


def measure(size: tuple[int, int, int, int]) -> dict[str, object]:
    """Write a table and report on it."""
    with tempfile.TemporaryDirectory() as folder:
        table = draw(*size)
        table.to_csv(Path(folder) / "scores.csv", index=False)
        command = [sys.executable, "-m", "dilated_ce", "report", "scores.csv", "--out", "report"]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cases, seeds, methods, classes = size
    return {
        **{"cases": cases, "seeds": seeds, "methods": methods, "classes": classes},
        "rows": len(table),
        "seconds": round(seconds, 1),
        "processor_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
        # The largest of all children so far: the sizes go upwards.
        "peak_memory_mib": round(after.ru_maxrss / 1024),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "pandas": pd.__version__,
    }


def main() -> None:
    """Measure every size and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest size, and no file")
    quick = parser.parse_args().quick
    rows = []
    for size in SIZES[:1] if quick else SIZES:
        rows.append(measure(size))
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if not quick:
        with OUT.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
