"""The picture of the weights: its numbers are those of the script, and as its caption says."""

from pathlib import Path

import pytest
import weight_maps

PATH = Path(__file__).parents[1] / "results" / "weight_maps" / "path.csv"


@pytest.fixture(scope="module")
def table():
    return weight_maps.path()


def test_the_numbers_are_those_of_the_script(table):
    assert table.to_csv(index=False, float_format="%.4g") == PATH.read_text()


def test_the_caption_says_what_they_are(table):
    at = table.set_index("radius")
    assert at.loc["0", "lesion"] > 100 * at.loc["0", ["beside", "far"]].max()
    assert at.loc["4", "beside"] < at.loc["4", "lesion"]
    assert at.loc["6", "beside"] == at.loc["6", "lesion"]
    assert (at.loc["inf"] == 1).all()
