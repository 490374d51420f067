"""Bring the recipe for conda-forge in line with the package.

    python tools/conda_recipe.py      rewrites packaging/conda/recipe.yaml

The version is that of the package, the requirements are those of pyproject.toml under the names
that conda-forge has for them. The hash is that of the source distribution in dist/, if there is one
of this version: conda-forge takes the file from PyPI.
"""

import hashlib
import re
from io import StringIO
from pathlib import Path
from typing import Any

from dist import version_of
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "packaging" / "conda" / "recipe.yaml"
NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def requirement(line: str) -> str:
    """A requirement under its name at conda-forge.

    Examples:
        >>> requirement("torch>=2.4"), requirement("SimpleITK>=2.2.1"), requirement("einops")
        ('pytorch >=2.4', 'simpleitk >=2.2.1', 'einops')
    """
    name, versions = re.fullmatch(r"([\w.-]+)\s*(.*)", line).groups()  # type: ignore[union-attr]
    name = name.lower()
    return f"{NAMES.get(name, name)} {versions}".strip()


def requirements(pyproject: str) -> tuple[list[str], list[str]]:
    r"""What the core and the extra `study` need, of the text of pyproject.toml.

    Raises:
        ValueError: an environment marker or an extra, for which conda has other means.

    Examples:
        >>> requirements('dependencies = ["numpy>=1.26"]\nstudy = [\n  "rich>=13",\n]\n')
        (['numpy >=1.26'], ['rich >=13'])
    """
    found = []
    for name in ("dependencies", "study"):
        (block,) = re.findall(rf"^{name} = \[(.*?)\]$", pyproject, re.DOTALL | re.MULTILINE)
        lines = re.findall(r'"([^"]+)"', re.sub(r"#.*", "", block))
        if odd := [line for line in lines if set(line) & set("[;@")]:
            raise ValueError(f"{name}: got {odd}, expected names with versions alone.")
        found.append([requirement(line) for line in lines])
    return found[0], found[1]


def in_line(recipe: str, pyproject: str, version: str, sha256: str | None) -> str:
    """The recipe with this version, these requirements and, if it is known, this hash."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    content: Any = yaml.load(recipe)
    context = content["context"]
    if str(context["version"]) != version:
        context["sha256"] = type(context["sha256"])("0" * 64)
    context["version"] = type(context["version"])(version)
    if sha256 is not None:
        context["sha256"] = type(context["sha256"])(sha256)
    core, study = content["outputs"]
    of_core, of_study = requirements(pyproject)
    core["requirements"]["run"][1:] = of_core
    study["requirements"]["run"][1:] = of_study
    text = StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def main() -> None:
    """Rewrite the recipe."""
    version = version_of((ROOT / "src" / "dilated_ce" / "__init__.py").read_text())
    source = ROOT / "dist" / f"dilated_ce-{version}.tar.gz"
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest() if source.exists() else None
    pyproject = (ROOT / "pyproject.toml").read_text()
    RECIPE.write_text(in_line(RECIPE.read_text(), pyproject, version, sha256))
    print(f"{RECIPE.relative_to(ROOT)}: {version}, sha256 {sha256 or 'left as it was'}")


if __name__ == "__main__":
    main()
