"""Build the wheel and the source distribution of the last commit into dist/, and check them.

    make dist

Both are built twice, from two fresh copies of the commit, and have to be the same byte for byte; so
has the wheel that is built from the source distribution. The wheel holds the package and its
licence, and nothing else. Where the commit bears a tag, the tag, `__version__` and the newest
heading of CHANGELOG.md have to name the same version.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "dilated_ce"


def main() -> None:
    """Build, check, and put both files into dist/."""
    version = version_of((ROOT / "src" / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    tags = git("tag", "--points-at", "HEAD").split()
    stop_at(release_problems(version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), tags))
    if git("status", "--porcelain"):
        print("What is not committed is left out.")
    epoch = git("log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory() as folder:
        first, second = (build(Path(folder, part), epoch) for part in ("first", "second"))
        stop_at(different(first, second, "built twice"))
        (sdist,) = (path for path in first if path.suffix == ".gz")
        (wheel,) = (path for path in first if path.suffix == ".whl")
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        again = run_build(Path(folder, sdist.name.removesuffix(".tar.gz")), "--wheel", epoch)
        stop_at(different([wheel], again, "built from the source distribution"))
        tracked = git("ls-files", f"src/{PACKAGE}").splitlines()
        with zipfile.ZipFile(wheel) as archive:
            stop_at(wheel_problems(archive.namelist(), tracked, version))
        subprocess.run(
            [sys.executable, "-m", "twine", "check", "--strict", *map(str, first)], check=True
        )
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        (ROOT / "dist").mkdir()
        for path in first:
            shutil.copy(path, ROOT / "dist")
            print(f"{sha256(path.read_bytes()).hexdigest()}  dist/{path.name}")
    print(f"Version {version}, {f'tagged {tags[0]}' if tags else 'not tagged: no release'}.")


def version_of(init: str) -> str:
    """The version that the package's `__init__.py` gives.

    Example:
        >>> version_of('__version__ = "1.2.3"')
        '1.2.3'
    """
    return re.findall(r'^__version__ = "(.+)"$', init, re.MULTILINE)[0]


def release_problems(version: str, changelog: str, tags: Iterable[str]) -> list[str]:
    r"""What speaks against releasing this commit under its tag; nothing where it has none.

    Example:
        >>> release_problems("1.2.3", "## Unreleased\n\n## 1.2.3 (2026-01-31)", ["v1.2.3"])
        []
        >>> release_problems("1.2.3", "## Unreleased", ["v1.2.4"])[0]
        'the tag is v1.2.4, the version 1.2.3: expected the tag v1.2.3'
    """
    released = re.sub(r"^## Unreleased\s+(?=## )", "", changelog, flags=re.MULTILINE)  # if empty
    heading = next(iter(re.findall(r"^## (\S+)", released, re.MULTILINE)), "none")
    problems = []
    for tag in (tag for tag in tags if re.match(r"v\d", tag)):
        if tag != f"v{version}":
            problems.append(f"the tag is {tag}, the version {version}: expected the tag v{version}")
        if heading != version:
            problems.append(
                f"the newest heading of CHANGELOG.md is {heading}, the version {version}: expected "
                f"'## {version} (YEAR-MONTH-DAY)', with nothing but an empty Unreleased above it"
            )
    return problems


def wheel_problems(names: Iterable[str], tracked: Iterable[str], version: str) -> list[str]:
    """Files that are missing in the wheel, and files that do not belong there.

    Example:
        >>> about = [f"dilated_ce-1.dist-info/{name}" for name in ABOUT]
        >>> wheel_problems(["dilated_ce/loss.py", *about], ["src/dilated_ce/loss.py"], "1")
        []
        >>> wheel_problems(["tests/test_loss.py", *about], ["src/dilated_ce/loss.py"], "1")
        ['the wheel lacks dilated_ce/loss.py', 'the wheel holds tests/test_loss.py']
    """
    expected = {path.removeprefix("src/") for path in tracked}
    expected |= {f"{PACKAGE}-{version}.dist-info/{name}" for name in ABOUT}
    names = set(names)
    return [f"the wheel lacks {name}" for name in sorted(expected - names)] + [
        f"the wheel holds {name}" for name in sorted(names - expected)
    ]


ABOUT = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")


def build(copy: Path, epoch: str) -> list[Path]:
    """Both files, built from a fresh copy of the last commit."""
    copy.mkdir()
    archive = copy.with_suffix(".tar")
    git("archive", "--output", str(archive), "HEAD")
    with tarfile.open(archive) as tar:
        tar.extractall(copy, filter="data")
    return run_build(copy, "--sdist", epoch) + run_build(copy, "--wheel", epoch)


def run_build(folder: Path, what: str, epoch: str) -> list[Path]:
    """What `python -m build` makes of a folder, with the pinned hatchling of this environment."""
    out = folder.with_name(f"{folder.name}{what}")
    subprocess.run(
        [
            *(sys.executable, "-m", "build", "--no-isolation", what),
            *("--outdir", str(out), str(folder)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
    )
    return sorted(out.iterdir())


def different(ones: list[Path], others: list[Path], how: str) -> list[str]:
    """The files that are not the same byte for byte."""
    return [
        f"{one.name}, {how}, is not the same: SHA-256 "
        + " and ".join(sha256(path.read_bytes()).hexdigest() for path in (one, other))
        for one, other in zip(ones, others, strict=True)
        if one.name != other.name or one.read_bytes() != other.read_bytes()
    ]


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()


def stop_at(problems: list[str]) -> None:
    """End the program if there is a problem."""
    if problems:
        raise SystemExit("make dist: " + "\n".join(problems))


if __name__ == "__main__":
    main()
