"""Run the studies under results/studies/ and keep their tables there: hours, in parts if you like.

    make studies                                  all of them, one run after the other
    make studies ARGS="kvasir acdc"               some
    make studies ARGS="--engine ray"              as many runs at once as there are cores

The data lie, or are linked, under data/ (see docs/results.md for what they are and where they come
from); STARE is fetched. What is given beside names goes to `dilated-ce compare`. The runs, the
predictions and the reports with pictures stay in runs/studies/; the tables are copied.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from dilated_ce.study.stare import open_stare

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "results" / "studies"
KEPT = ("cases.csv", "curves.csv", "study.json", "summary.json")


def write_stare(folder: Path) -> None:
    """STARE as a folder of images and masks, in full size."""
    data = open_stare(scale=1.0)
    for part in ("train", "test"):
        for name in getattr(data.folds[0], part):
            case = data.by_name[name].load()
            pixels = {"images": np.moveaxis(case.image, 0, -1), "masks": case.labels}
            for kind, values in pixels.items():
                path = folder / part / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.rint(255 * values).astype(np.uint8)).save(path)


def run(name: str, options: list[str]) -> None:
    """Carry out one study, or what is left of it."""
    settings = STUDIES / name / "study.yaml"
    data = ROOT / yaml.safe_load(settings.read_text(encoding="utf-8"))["data"]["path"]
    if data.name == "stare" and not data.exists():
        write_stare(data)
    if not data.exists():
        print(f"{name}: left out, as {data} is not there.", file=sys.stderr)
        return
    out = ROOT / "runs" / "studies" / name
    command = ["compare", str(settings), "--out", str(out), *options]
    subprocess.run([sys.executable, "-m", "dilated_ce", *command], cwd=ROOT, check=True)
    for table in KEPT:
        shutil.copy(out / table, STUDIES / name / table)


def main() -> None:
    """Run the studies named on the command line, or all."""
    known = sorted(path.parent.name for path in STUDIES.glob("*/study.yaml"))
    wanted = [word for word in sys.argv[1:] if word in known]
    options = [word for word in sys.argv[1:] if word not in known]
    for name in wanted or known:
        run(name, options)


if __name__ == "__main__":
    main()
