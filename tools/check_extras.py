"""Install the wheel in dist/ with every extra, alone and all together, and import what they bring.

    make packaging

Each goes into an environment of its own, with the versions of constraints.txt. Writes
results/packaging/extras.csv: how many packages came, whether pip finds them in agreement, and the
modules that were imported.
"""

import csv
import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results" / "packaging" / "extras.csv"
# What each extra is for: these modules have to import.
EXTRAS = {
    "": ("dilated_ce",),
    "study": ("dilated_ce.study.api", "dilated_ce.inspection", "dilated_ce.cli.compare"),
    "ray": ("dilated_ce.study.runs.ray_cluster", "ray"),
    "slurm": ("dilated_ce.study.runs.slurm", "submitit"),
    "monai": ("dilated_ce.integrations.monai",),
    "nnunet": ("dilated_ce.integrations.nnunet", "dilated_ce.cli.nnunet"),
    "bench": ("cv2", "edt", "kornia", "monai", "scipy"),
    "docs": ("mkdocs", "material", "mkdocstrings"),
    "dev": ("pytest", "hypothesis", "mypy", "importlinter", "ray"),
    "release": ("build", "hatchling", "twine"),
}
ALL = {",".join(filter(None, EXTRAS)): tuple(dict.fromkeys(sum(EXTRAS.values(), ())))}


def main() -> None:
    """Install, import and write."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    rows = []
    for extra, modules in (EXTRAS | ALL).items():
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            rows.append({"extra": extra or "none", **check(Path(folder), wheel, extra, modules)})
        print(*rows[-1].values(), sep=" | ", flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if any(row["problem"] for row in rows):
        raise SystemExit("An extra does not install or import: see the table.")


def check(folder: Path, wheel: Path, extra: str, modules: tuple[str, ...]) -> dict[str, object]:
    """Install into the environment in this folder, and import: a row of the table."""
    python, report = folder / "bin" / "python", folder / "report.json"
    wanted = [f"{wheel}[{extra}]" if extra else str(wheel)]
    if "nnunet" in extra:
        # It brings torchvision, whose build on PyPI works with PyPI's torch, and not with a
        # build that pip may find elsewhere: === takes no 2.13.0+cpu for 2.13.0.
        pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
        wanted += [f"torch==={version}" for version in re.findall(r"(?m)^torch==([^;\s]+)", pins)]
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--constraint", "constraints.txt", "--report", report]
    problem = complaint([*install, *wanted]) or complaint([*pip, "check"])
    packages = json.loads(report.read_text())["install"] if report.exists() else []
    imported = []
    for module in modules:
        found = complaint([python, "-c", f"import {module}"])
        problem = problem or found
        imported += [] if found else [module]
    return {"packages": len(packages), "imported": " ".join(imported), "problem": problem}


def complaint(command: list[object]) -> str:
    """Run it; the last line of what it says if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=ROOT, text=True, capture_output=True)
    if done.returncode == 0:
        return ""
    return (done.stdout + done.stderr).strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
