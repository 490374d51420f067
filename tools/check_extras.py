"""Resolve every extra of the wheel in dist/, install some of them, and write what came of it.

    make packaging

Writes results/packaging/extras.csv. `resolved` is what pip's resolver says of the wheel with the
extra in an empty environment, with the versions of constraints.txt; `imported` are the modules that
were imported where the extra was installed for real.
"""

import csv
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results" / "packaging" / "extras.csv"
EXTRAS = ("", "study", "ray", "monai", "nnunet", "bench", "docs", "dev", "release")
ALL = ",".join(EXTRAS[1:])
# Those that are installed for real, and what is imported then.
IMPORTED = {
    "": ("dilated_ce",),
    "monai": ("dilated_ce.integrations.monai",),
    "study": ("dilated_ce.study.comparison", "dilated_ce.inspection", "dilated_ce.cli"),
}


def main() -> None:
    """Resolve, install and write."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    rows = []
    for extra in (*EXTRAS, ALL):
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = Path(folder, "bin", "python")
            packages, problem = resolve(python, wheel, extra)
            imported = install(python, wheel, extra) if extra in IMPORTED else ""
        torchvision = next((p for p in packages if p.startswith("torchvision")), "")
        row = {
            "extra": extra or "none",
            "resolved": "no" if problem else "yes",
            "packages": len(packages),
            "imported": imported,
            "note": problem or (f"brings {torchvision}" if torchvision else ""),
        }
        rows.append(row)
        print(*row.values(), sep=" | ", flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if any(row["resolved"] == "no" for row in rows):
        raise SystemExit("An extra cannot be resolved.")


def resolve(python: Path, wheel: Path, extra: str) -> tuple[list[str], str]:
    """The packages that pip would install, or its complaint."""
    done = pip(python, "--dry-run", "--report", "-", target(wheel, extra))
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return [], (lines or ["unknown"])[0]
    found = [entry["metadata"] for entry in json.loads(done.stdout)["install"]]
    return sorted(f"{entry['name']} {entry['version']}" for entry in found), ""


def install(python: Path, wheel: Path, extra: str) -> str:
    """Install for real; the modules that were imported."""
    pip(python, target(wheel, extra)).check_returncode()
    for module in IMPORTED[extra]:
        subprocess.run([python, "-c", f"import {module}"], check=True, cwd=python.parent)
    return " ".join(IMPORTED[extra])


def target(wheel: Path, extra: str) -> str:
    """The wheel with an extra, as pip takes it."""
    return f"{wheel}[{extra}]" if extra else str(wheel)


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pip install` with the pinned versions."""
    command = [python, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    return subprocess.run([*command, *arguments], cwd=ROOT, text=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
