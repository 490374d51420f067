import numpy as np
import pandas as pd
import pytest

from dilated_ce.study.summary import caution, compare, summarise


@pytest.fixture
def cases():
    """Two seeds, two cases, two classes; Dice of each loss and seed is constant over the cases."""
    dice = {"ce": (0.6, 0.7), "balanced-ce": (0.5, 0.5), "dbce:radius=2": (0.8, 0.6)}
    return pd.DataFrame(
        {
            "loss": loss, "seed": seed, "case": case, "class": name,
            "dice": dice[loss][seed], "recall": 0.5, "precision": np.nan,
        }
        for seed in (0, 1) for loss in dice for case in "ab" for name in ("1", "2")
    )  # fmt: skip


def test_rows(cases):
    rows = summarise(cases)
    assert [str(row.loss) for row in rows] == ["ce", "balanced-ce", "dbce:radius=2"]
    assert rows[0].cells() == ["65.0 ± 5.0", "50.0 ± 0.0", "-"]
    assert rows[2].mean["dice"] == pytest.approx(70)


def test_a_class_weighs_as_much_as_another_and_a_case_as_another(cases):
    one = cases[(cases["loss"] == "ce") & (cases["seed"] == 0)].copy()
    one["dice"] = [0.2, 0.4, 0.6, 1.0]
    assert summarise(one)[0].mean["dice"] == pytest.approx(55)


def test_differences_are_taken_seed_by_seed(cases):
    first, second = compare(cases)
    assert str(first.reference) == "ce"
    assert first.mean == pytest.approx(5)
    assert first.seeds == pytest.approx((20, -10))
    assert first.sentence == (
        "DBCE (R = 2) is 5.0 points of Dice above CE (-10.0 to +20.0 over the seeds)"
    )
    assert str(second.reference) == "balanced-ce"
    assert second.mean == pytest.approx(20)


def test_one_seed_has_no_spread(cases):
    one = cases[cases["seed"] == 0]
    assert summarise(one)[0].cells() == ["60.0", "50.0", "-"]
    assert compare(one)[0].sentence == "DBCE (R = 2) is 20.0 points of Dice above CE"
    level = one.assign(dice=0.5)
    assert compare(level)[0].sentence == "DBCE (R = 2) is level with CE"


def test_without_a_reference_there_is_nothing_to_compare(cases):
    assert compare(cases[cases["loss"] == "ce"]) == []


def test_caution():
    assert caution(1, 1) == "one seed on one test image: a first look, not a proof"
    assert caution(2, 10).startswith("2 seeds on 10 test images")
