"""The floors that CONTRIBUTING.md draws are those of the contract, and those of the imports."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

import dilated_ce

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "dilated_ce"


def drawn():
    """The floors of the drawing, the highest first: the modules of each."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"Imports run downwards only.*?\n\n((?:    [^\n]+\n)+)", text, re.DOTALL)
    return [set(line.split()) for line in block.splitlines()]


def imported():
    """What each module or folder of the package imports of the others, anywhere in its files."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name == "__init__":  # which imports what it is asked for
            continue
        if not (path.parent / "__init__.py").exists():  # nnU-Net's door, which opens from outside
            continue
        own = found.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import, which this test does not read"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for parts in (name.split(".") for name in names):
                if parts[0] == "dilated_ce" and len(parts) > 1:
                    own.add(dilated_ce._MODULE_OF.get(parts[1], parts[1]))
        own -= {name, "__version__"}
    return found


@pytest.fixture(scope="module")
def floors():
    return drawn()


def test_the_drawing_is_the_contract(floors):
    text = (ROOT / "pyproject.toml").read_text()
    (layers,) = re.findall(
        r'name = "Floors: an import runs downwards only"\ntype = "layers"\nlayers = (\[.*?\])',
        text,
        re.DOTALL,
    )
    contract = [
        {name.strip().removeprefix("dilated_ce.") for name in layer.split("|")}
        for layer in ast.literal_eval(layers)
    ]
    assert floors == contract


def test_every_module_has_its_place(floors):
    places = [name for floor in floors for name in floor]
    assert sorted(places) == sorted(imported())


def test_an_import_runs_downwards_only(floors):
    place = {name: index for index, floor in enumerate(floors) for name in floor}
    edges = [(name, other) for name, others in imported().items() for other in others]
    assert len(edges) > 20
    assert [(name, other) for name, other in edges if place[name] >= place[other]] == []


def test_no_floor_is_drawn_above_another_without_need(floors):
    """Something on it imports something on the next, or both could be one floor."""
    imports = imported()
    needless = [
        (upper, lower)
        for upper, lower in pairwise(floors)
        if not any(imports[name] & lower for name in upper)
    ]
    assert needless == []
