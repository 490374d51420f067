"""What MkDocs needs beside docs/ (a hook, see mkdocs.yml).

The pages link to files of the repository, and should do so both there and on the site. So these
files are copied to the root of the site, and a link that leaves docs/ is led there. The page of the
command line is written from the commands themselves, that of the settings from their classes.
"""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args, get_origin

from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dilated_ce.study.defaults import DEFAULT_LOSSES
from dilated_ce.study.settings.compare import CompareConfig, NnunetCompareConfig

ROOT = Path(__file__).resolve().parents[1]
# Of settings that the command fills in itself.
DEFAULTS = {"losses": f"`{DEFAULT_LOSSES.replace(',', ', ')}`", "out": "`runs/NAME-OF-THE-DATA`"}
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
COPIED = (
    "LICENSE",
    "contrib/*/*",
    "packaging/*.md",
    "packaging/*/*",
    "CITATION.cff",
    "constraints.txt",
    "examples/*",
    "results/**/*.csv",
    "results/**/*.html",
    "results/**/*.json",
    "results/**/*.yaml",
    "results/**/*.svg",
    "results/rules/*.md",
    "results/rules/*.py",
    "benchmarks/*.py",
    "tools/*",
    "src/dilated_ce/*.py",
    "tests/*.py",
)


def copied() -> list[Path]:
    """The files of the repository that pages may link to, relative to its root."""
    found = [path for pattern in (*PAGES, *COPIED) for path in sorted(ROOT.glob(pattern))]
    return [path.relative_to(ROOT) for path in found if path.is_file()]


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the repository, and the pages that are written from the code."""
    for path in copied():
        files.append(File.generated(config, path.as_posix(), abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "reference/cli.md", content=command_line()))
    files.append(File.generated(config, "reference/settings.md", content=settings()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links that leave docs/ to the copies; README is the start of the site."""
    here = PurePosixPath(page.file.src_uri)
    outside = Path(here) in copied()  # and not in docs/
    up = "../" * len(here.parent.parts)

    def lead(match: re.Match[str]) -> str:
        target = match[1]
        if outside:
            if target.startswith(up + "docs/"):
                target = up + target.removeprefix(up + "docs/")
        elif target.startswith(up + "../"):
            target = up + target.removeprefix(up + "../")
        if target.removeprefix(up) == "README.md":
            target = up + "index.md"
        return f"]({target}"

    return re.sub(r"\]\((?!\w+:|#)([^)#\s]+)", lead, markdown)


def command_line() -> str:
    """The help of every command, as Typer writes it."""
    command = [sys.executable, "-m", "typer", "dilated_ce.cli", "utils", "docs"]
    names = ["--name", "dilated-ce", "--title", "Command line"]
    done = subprocess.run([*command, *names], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def settings() -> str:
    """What a settings file may hold, a table per section."""
    lines = [
        "# Settings of `compare`",
        "",
        "What a settings file may hold (`dilated-ce compare study.yaml`, [an example]"
        "(../how-to/compare.md)). Most are options of [the command](cli.md), too. An unknown or "
        "misspelt name is an error.",
    ]
    fields = {**CompareConfig.model_fields, **NnunetCompareConfig.model_fields}
    sections = {name: _section(field) for name, field in fields.items()}
    lines += ["", *_table({name: field for name, field in fields.items() if not sections[name]})]
    for name, section in sections.items():
        if section:
            lines += ["", f"## {name}", "", section.__doc__ or "", ""]
            lines += _table(section.model_fields)
    return "\n".join(lines)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a section, which may be optional; None for a plain setting."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _table(fields: dict[str, FieldInfo]) -> list[str]:
    rows = ["| name | default | |", "| --- | --- | --- |"]
    for name, field in fields.items():
        values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        words = ", ".join(f"`{value}`" for value in values)
        about = "; ".join(filter(None, [field.description, words]))
        rows.append(f"| `{name}` | {_default(name, field)} | {about} |")
    return rows


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return DEFAULTS.get(name, "needed")
    return "-" if field.default is None else f"`{field.default}`"
