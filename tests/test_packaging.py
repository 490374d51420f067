"""What an installation brings, and what a release needs."""

import doctest
import re
import subprocess
import sys
from importlib.metadata import metadata, requires
from pathlib import Path

import conda_recipe
import dist
import pytest
from ruamel.yaml import YAML

import dilated_ce

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    *("jinja2", "lightning", "matplotlib", "monai", "nibabel", "nnunetv2", "pandas", "PIL"),
    *("pydantic", "ray", "requests", "rich", "ruamel", "scipy", "sklearn", "triton", "typer"),
}


def test_the_core_imports_torch_alone():
    code = (
        "import sys, torch; before = set(sys.modules); from dilated_ce import *; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "dilated_ce" in printed
    assert not HEAVY & set(printed)


def test_every_public_name_is_there_and_others_are_not():
    assert set(dilated_ce.__all__) <= set(dir(dilated_ce))
    for name in dilated_ce.__all__:
        assert getattr(dilated_ce, name).__name__ == name
    with pytest.raises(AttributeError, match="'dilated_ce' has no attribute 'DiceLoss'"):
        dilated_ce.DiceLoss  # noqa: B018


def test_the_types_are_shipped():
    assert (Path(dilated_ce.__file__).parent / "py.typed").is_file()
    assert "Typing :: Typed" in metadata("dilated-ce").get_all("Classifier")


def test_it_requires_torch_and_numpy_alone():
    always = [line for line in requires("dilated-ce") if "extra ==" not in line]
    assert sorted(re.match(r"[\w-]+", line)[0] for line in always) == ["numpy", "torch"]


def test_the_release_checks_do_as_their_examples():
    assert doctest.testmod(dist).attempted >= 5
    assert doctest.testmod(dist).failed == 0


def test_the_version_is_the_one_that_is_read():
    init = (ROOT / "src" / "dilated_ce" / "__init__.py").read_text()
    assert dist.version_of(init) == dilated_ce.__version__


def test_the_recipe_for_conda_is_in_line_with_the_package():
    assert doctest.testmod(conda_recipe).attempted == 2
    assert doctest.testmod(conda_recipe).failed == 0
    recipe, pyproject = conda_recipe.RECIPE.read_text(), (ROOT / "pyproject.toml").read_text()
    in_line = conda_recipe.in_line(recipe, pyproject, dilated_ce.__version__, None)
    assert recipe == in_line, "run: python tools/conda_recipe.py"
    other = YAML().load(conda_recipe.in_line(recipe, pyproject, "9.9.9", "a" * 64))
    assert other["context"] == {"version": "9.9.9", "sha256": "a" * 64}
    without = YAML().load(conda_recipe.in_line(recipe, pyproject, "9.9.9", None))
    assert without["context"]["sha256"] == "0" * 64  # that of another version would be wrong


def test_what_docker_copies_is_there_and_not_ignored():
    folder = ROOT / "packaging" / "docker"
    copied = re.findall(r"^COPY (.+) \S+$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    names = " ".join(copied).split()
    assert {"src", "pyproject.toml", "constraints.txt"} <= set(names)
    kept = re.findall(r"^!(.+)$", (folder / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(kept)
    assert all((ROOT / name).exists() for name in names)


def test_the_citation_is_that_of_the_paper_and_of_this_version():
    citation = YAML().load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == dilated_ce.__version__
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.48550/arXiv.2412.06045"  # arXiv's own, made of the number
    assert paper["url"].endswith(paper["doi"].removeprefix("10.48550/arXiv."))


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "problems"),
    [
        ("1.0.0", "## Unreleased\n", [], 0),
        ("1.0.0", "# Changelog\n\n## 1.0.0 (2026-01-31)\n\n## 0.9.0\n", ["v1.0.0"], 0),
        ("1.0.0", "## 1.0.0 (2026-01-31)\n", ["v1.0.0", "paper"], 0),
        ("1.0.0", "## Unreleased\n\n## 1.0.0 (2026-01-31)\n", ["v1.0.0"], 0),
        ("1.0.0", "## Unreleased\n\n- New.\n\n## 1.0.0 (2026-01-31)\n", ["v1.0.0"], 1),
        ("1.0.0", "", ["v1.0.0"], 1),
        ("1.0.0", "## 1.0.1\n", ["v1.0.1"], 2),
    ],
)
def test_tag_version_and_changelog_have_to_agree(version, changelog, tags, problems):
    assert len(dist.release_problems(version, changelog, tags)) == problems


def test_another_build_is_told(tmp_path):
    one, other = tmp_path / "a" / "x.whl", tmp_path / "b" / "x.whl"
    for path in (one, other):
        path.parent.mkdir()
        path.write_bytes(b"same")
    assert dist.different([one], [other], "built twice") == []
    other.write_bytes(b"another")
    assert "x.whl, built twice, is not the same" in dist.different([one], [other], "built twice")[0]
