"""Write results/packaging/versions.csv, from what `make test-lowest` left in a folder.

python tools/lowest_versions.py FOLDER    with core.xml, monai.xml and so on, of pytest

Called with the Python that has the oldest versions; the newest are those of constraints.txt.
"""

import csv
import platform
import re
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results" / "packaging" / "versions.csv"
PACKAGES = {
    "core": ("torch", "numpy"),
    "monai": ("monai",),
    "nnunet": ("nnunetv2",),
    "study": (
        *("lightning", "matplotlib", "nibabel", "pandas", "pillow", "pydantic", "scipy"),
        *("scikit-learn", "typer"),
    ),
}


def main() -> None:
    """Read and write."""
    newest = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    rows = []
    for tests, packages in PACKAGES.items():
        path = Path(sys.argv[1], f"{tests}.xml")
        if not path.exists():
            continue
        suite = ElementTree.parse(path).getroot()[0].attrib
        failed = int(suite["failures"]) + int(suite["errors"])
        rows += [
            {
                "package": package,
                "lowest": version(package),
                "newest": re.findall(rf"(?im)^{package}==([^;\s]+)", newest)[-1],
                "python": platform.python_version(),
                "tests": tests,
                "passed": int(suite["tests"]) - failed - int(suite["skipped"]),
                "failed": failed,
            }
            for package in packages
        ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    failed = sum(row["failed"] for row in rows)
    if failed:
        raise SystemExit("Some tests fail with the oldest versions: see the table and the output.")


if __name__ == "__main__":
    main()
