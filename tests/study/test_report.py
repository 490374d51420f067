import re
from dataclasses import replace

import pytest

from dilated_ce.study.losses import parse_loss
from dilated_ce.study.report import write_report
from dilated_ce.study.runs import run_study


@pytest.fixture
def make_report(tiny_config, tiny_data):
    def make(data=tiny_data, **changes):
        config = tiny_config.model_copy(update=changes)
        runs = [run for run, _ in run_study(config, data)]
        return write_report(config, data, runs).read_text(encoding="utf-8")

    return make


def test_one_file_holds_everything(make_report, tiny_data):
    page = make_report()
    for title in ("CE", "DBCE (R = 2)", "Dice + DBCE (R = 1)"):
        assert f">{title}</td>" in page
    for case in tiny_data.test:
        assert page.count(f'alt="{case.name}, ') == 2 + 3  # image, truth and three losses
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 3 + len(tiny_data.test) * 5
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\(|@import|<link|<script src", page)
    assert page.count("<img") == page.count("alt=")
    assert "2 seeds on 2 test images: a first look, not a proof" in page


def test_names_from_outside_do_not_become_markup(make_report, tiny_data):
    evil = "<script>alert(1)</script>"
    test = (replace(tiny_data.test[0], name=evil), *tiny_data.test[1:])
    page = make_report(replace(tiny_data, name=evil, source=evil, test=test), seeds=1)
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_single_loss_and_a_single_test_image(make_report, tiny_data):
    data = replace(tiny_data, test=tiny_data.test[:1])
    page = make_report(data, losses=(parse_loss("dbce:radius=2"),), seeds=1)
    assert "one seed on one test image" in page


def test_a_run_that_went_wrong_is_reported(tiny_config, tiny_data):
    config = tiny_config.model_copy(update={"losses": (parse_loss("ce"),), "seeds": 1})
    [(run, _)] = run_study(config, tiny_data)
    cases = run.cases
    cases[["dice", "recall", "precision"]] = (0.0, 0.0, float("nan"))
    cases.to_csv(run.folder / "cases.csv", index=False)
    page = write_report(config, tiny_data, [run]).read_text(encoding="utf-8")
    assert "CE, seed 0: collapsed" in page
    assert "<td>-</td>" in page
