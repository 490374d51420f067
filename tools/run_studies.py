"""Run the studies under results/studies/, and keep their tables there. It takes hours.

    make studies                                  all of them, one run after the other
    make studies ARGS="kvasir stare"              some
    make studies ARGS="--engine ray"              as many runs at once as there are cores

The data lie, or are linked, under data/ (see docs/results.md for what they are and where they come
from); STARE is fetched. What is given beside names goes to `dilated-ce compare`. The runs, the
predictions and the pictures of cases stay in runs/studies/; tables and reports are copied.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import distance_transform_edt

from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.data.stare import open_stare
from dilated_ce.study.runs.store import Run
from dilated_ce.study.scores.table import read_cases
from dilated_ce.study.settings.file import read_settings
from dilated_ce.study.training.loss_spec import parse_loss

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "results" / "studies"
DISTANCES = (0.0, 2.0, 5.0, 10.0, 20.0)
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
    data = ROOT / read_settings(settings)["data"]["path"]
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
    report = (out / "report.html").read_text(encoding="utf-8")
    (STUDIES / name / "report.html").write_text(without_pictures(report), encoding="utf-8")
    errors = false_positives(out)
    path = STUDIES / name / "false_positives.csv"
    errors.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def without_pictures(report: str) -> str:
    """The report less the pictures of cases, as the images of a data set are not ours to spread."""
    before, _, rest = report.partition("<h2>Where the errors are</h2>")
    _, heading, after = rest.partition("<h2>What it costs</h2>")
    if not heading or "image/png" in before + after:
        raise SystemExit("The report has another form than tools/run_studies.py expects.")
    return f"{before}{heading}{after}"


def false_positives(out: Path) -> pd.DataFrame:
    """How far from the true class the false positives of each run lie.

    Returns:
        By loss, seed, fold and class the false positives per true voxel, summed over the test cases
        that hold the class, at distances in [from, to) of it, in the unit of the data.
    """
    prepared = Prepared(out / "prepared")
    study = json.loads((out / "study.json").read_text(encoding="utf-8"))
    wanted = set(read_cases(out / "cases.csv")["loss"])
    runs: dict[tuple[str, int, int], Run] = {}
    # Runs of other settings lie beside these: the newest of each kind is the one in the tables.
    for path in sorted(
        (out / "runs").glob("[!.]*/run.json"), key=lambda path: path.stat().st_mtime
    ):
        info = json.loads(path.read_text(encoding="utf-8"))
        if info["loss"] in wanted:
            key = info["loss"], info["seed"], info["fold"]
            runs[key] = Run(parse_loss(info["loss"]), info["seed"], info["fold"], path.parent)
    rows = []
    for (loss, seed, fold), run in sorted(runs.items()):
        counts = np.zeros((len(study["data"]["classes"]), len(DISTANCES)))
        true = np.zeros(len(counts))
        for name in run.cases["case"].unique():
            predicted, case = run.prediction(name), prepared.load(name)
            labels = np.asarray(case.labels)
            for index in range(1, len(counts)):
                mask = labels == index
                if mask.any():
                    distance = distance_transform_edt(~mask, sampling=case.spacing)
                    wrong = distance[(predicted == index) & ~mask]
                    counts[index] += np.histogram(wrong, (*DISTANCES, np.inf))[0]
                    true[index] += mask.sum()
        who = {"loss": loss, "seed": seed, "fold": fold}
        for index in range(1, len(counts)):
            for start, end, count in zip(
                DISTANCES, (*DISTANCES[1:], np.inf), counts[index], strict=True
            ):
                part = {"class": study["data"]["classes"][index], "from": start, "to": end}
                rows.append({**who, **part, "per_true_voxel": count / true[index]})
    return pd.DataFrame(rows)


def main() -> None:
    """Run the studies named on the command line, or all."""
    known = sorted(path.parent.name for path in STUDIES.glob("*/study.yaml"))
    wanted = [word for word in sys.argv[1:] if word in known]
    options = [word for word in sys.argv[1:] if word not in known]
    for name in wanted or known:
        run(name, options)


if __name__ == "__main__":
    main()
