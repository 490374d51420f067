"""The experiment that explains the loss, by its own script and by an independent count."""

import math
from pathlib import Path

import border_bias
import pytest

from dilated_ce.inspection.advice import _border

ROOT = Path(__file__).parents[1]
CROSSINGS = ROOT / "results" / "border_bias" / "crossings.csv"


@pytest.fixture(scope="module")
def crossings():
    results = border_bias.experiment()
    return {setting: border_bias.crossing(*result) for setting, result in results.items()}


def test_balanced_ce_moves_the_border_and_three_sigma_puts_it_back(crossings):
    assert crossings[0, "batch"] - 8 > 2
    assert abs(crossings[6, "batch"] - 8) < 0.15  # R = 3 sigma
    assert abs(crossings[math.inf, "batch"] - 8) < 0.15


def test_volumes_of_the_image_move_the_border_inwards(crossings):
    assert crossings[6, "image"] < crossings[6, "batch"] - 0.3
    assert crossings[math.inf, "image"] == crossings[math.inf, "batch"]


def test_the_bias_falls_along_the_radius(crossings):
    finite = [crossings[radius, "batch"] for radius in (0, 1, 2, 3, 4, 6)]
    assert finite == sorted(finite, reverse=True)


def test_the_numbers_quoted_are_those_of_the_script(crossings):
    rows = [line.split(",") for line in CROSSINGS.read_text().splitlines()[1:]]
    assert {(radius, scope): border for radius, scope, border, _ in rows} == {
        (str(radius), scope): f"{border:.2f}" for (radius, scope), border in crossings.items()
    }


def test_the_pages_say_where_the_adaptive_loss_puts_the_border(crossings):
    adaptive = crossings[border_bias.ADAPTIVE]
    readme = " ".join((ROOT / "README.md").read_text().split())
    balanced, dbce = (crossings[radius, border_bias.BATCH] for radius in (0, 6))
    assert (
        f"Under balanced CE at {balanced:.2f} px, under DBCE with R = 6 at {dbce:.2f} px, "
        f"under Adaptive DBCE at {adaptive:.2f} px"
    ) in readme
    for page in ("method.md", "how-to/which-loss.md"):
        assert f"about {8 - adaptive:.1f} px in" in (ROOT / "docs" / page).read_text()


def test_crossing_interpolates():
    import torch

    centres = torch.tensor([0.25, 0.75, 1.25, 1.75])
    assert border_bias.crossing(centres, torch.tensor([1.0, 0.75, 0.25, 0.0])) == pytest.approx(1.0)


def test_the_advice_of_inspect_quotes_them(crossings):
    (point,) = _border()
    for radius, words in ((0, "balanced CE (R = 0)"), (2, "R = 2"), (6, "R = 6")):
        assert f"{crossings[radius, 'batch']:.1f} " in point.text
        assert words in point.text
