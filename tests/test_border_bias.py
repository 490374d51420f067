"""The experiment that explains the loss, by its own script and by an independent count."""

import importlib.util
import math
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "figures" / "border_bias.py"
CROSSINGS = Path(__file__).parents[1] / "results" / "border_bias" / "crossings.csv"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("border_bias", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def crossings(script):
    return {radius: script.crossing(*result) for radius, result in script.experiment().items()}


def test_balanced_ce_moves_the_border_and_three_sigma_puts_it_back(crossings):
    assert crossings[0] - 8 > 2
    assert abs(crossings[6] - 8) < 0.15  # R = 3 sigma
    assert abs(crossings[math.inf] - 8) < 0.15


def test_the_bias_falls_along_the_radius(crossings):
    finite = [crossings[radius] for radius in sorted(crossings) if radius <= 6]
    assert finite == sorted(finite, reverse=True)


def test_the_numbers_quoted_are_those_of_the_script(crossings):
    rows = [line.split(",") for line in CROSSINGS.read_text().splitlines()[1:]]
    assert {float(radius): border for radius, border, _ in rows} == {
        radius: f"{border:.2f}" for radius, border in crossings.items()
    }


def test_crossing_interpolates(script):
    import torch

    centres = torch.tensor([0.25, 0.75, 1.25, 1.75])
    assert script.crossing(centres, torch.tensor([1.0, 0.75, 0.25, 0.0])) == pytest.approx(1.0)
