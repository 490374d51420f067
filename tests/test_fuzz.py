"""Random calls, valid and spoilt, and the memory over many steps: `make fuzz` and `make memory`."""

from pathlib import Path

import fuzz
import memory_growth
import pandas as pd
import pytest
from calls import FUNCTIONS, draw

import dilated_ce
from dilated_ce.ball import discs

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("start", range(0, 600, 150))
def test_a_call_gives_what_the_reference_gives_or_is_refused_as_due(start):
    outcomes, failures = fuzz.judge_range(fuzz.SEED_OF_TESTS, start, start + 150)
    assert failures == []
    found = {(function, outcome) for function, outcome, _ in outcomes}
    assert found == {(name, how) for name in FUNCTIONS for how in (fuzz.COMPUTED, fuzz.REFUSED)}


def test_a_draw_is_the_same_whatever_came_before():
    first = [repr(draw(3, index)) for index in range(20)]
    assert first[::-1] == [repr(draw(3, index)) for index in reversed(range(20))]


@pytest.mark.parametrize("factor", [1 + 1e-4, float("nan")])
def test_wrong_weights_are_seen(monkeypatch, factor):
    right = dilated_ce.dilated_balanced_weights
    monkeypatch.setattr(
        dilated_ce, "dilated_balanced_weights", lambda *args, **kw: factor * right(*args, **kw)
    )
    outcomes, failures = fuzz.judge_range(0, 0, 200)
    name = "dilated_balanced_weights"
    missed = outcomes[name, fuzz.COMPUTED, ""]  # all weights are 0, or there is no voxel
    assert outcomes[name, "failed", ""] > 10 > missed
    assert len(failures) == sum(n for key, n in outcomes.items() if "failed" in key)


def test_what_is_wrongly_accepted_or_badly_refused_is_seen(monkeypatch):
    def accept(labels, *_, num_classes, **options):
        raise ValueError("something is wrong")

    monkeypatch.setattr(dilated_ce, "dilate_labels", accept)
    outcomes, _ = fuzz.judge_range(0, 0, 200)
    assert {key[1] for key in outcomes if key[0] == "dilate_labels"} == {"failed"}


def test_the_table_is_of_a_run_without_a_failure():
    table = pd.read_csv(fuzz.OUT)
    assert set(table["outcome"]) == {fuzz.COMPUTED, fuzz.REFUSED}
    assert table["draws"].sum() == 100_000


def test_training_keeps_nothing_of_a_step():
    table = memory_growth.train("DBCE", steps=90, every=30)
    warm = table.iloc[1:]
    assert warm["tensors"].nunique() == 1
    assert table["cached_balls"].max() <= discs.cache_info().maxsize


def test_the_memory_grows_no_more_than_under_plain_cross_entropy():
    table = pd.read_csv(memory_growth.OUT).set_index(["loss", "step"])
    assert table["tensors"].nunique() == 1
    assert table["cached_balls"].max() <= discs.cache_info().maxsize
    apart = table.loc["DBCE", "resident_mib"] - table.loc["CE", "resident_mib"]
    assert len(apart) == 40
    assert apart.abs().max() < 20
