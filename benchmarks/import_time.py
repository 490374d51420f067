"""How long `from dilated_ce import *` takes beyond `import torch`, in fresh processes.

    python benchmarks/import_time.py

Writes results/packaging/import_time.csv: medians, and what else is imported.
"""

import csv
import platform
import statistics
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "results" / "packaging" / "import_time.csv"
PROCESSES = 9
TIMED = """
import sys, time
begun = time.perf_counter()
import torch
torch_there = time.perf_counter()
from dilated_ce import *
print(torch_there - begun, time.perf_counter() - torch_there, torch.__version__)
"""


def main() -> None:
    """Measure and write."""
    times: dict[str, list[float]] = {"torch": [], "dilated_ce, beyond torch": []}
    for _ in range(PROCESSES):
        done = subprocess.check_output([sys.executable, "-c", TIMED], text=True)
        *seconds, version = done.split()
        for part, of_part in zip(times.values(), seconds, strict=True):
            part.append(float(of_part))
    rows = [
        {
            "import": name,
            "seconds": round(statistics.median(part), 3),
            "slowest": round(max(part), 3),
            "processes": PROCESSES,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": version,
        }
        for name, part in times.items()
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(f"{row['import']}: {row['seconds']} s")


if __name__ == "__main__":
    main()
