"""Which rows of a report belong together: patients, runs, and names that mean one thing."""

import json

import pandas as pd
import pytest
from nnunet_results import masks, save
from written_tables import scores, write

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.reporting import report
from dilated_ce.study.settings.report import ReportConfig


def report_on(tmp_path, tables, **settings):
    """The notes of a report on tables by their methods, or on one with all of them."""
    if isinstance(tables, pd.DataFrame):
        tables = {None: tables}
    results = [
        {"method": method, "path": write(tmp_path / f"t{place}.csv", table)}
        for place, (method, table) in enumerate(tables.items())
    ]
    values = {"resamples": 200, "out": tmp_path / "out", **settings}
    report(ReportConfig(results=results, **values))
    return json.loads((tmp_path / "out" / "summary.json").read_text())["troubles"]


def by_method(table):
    """A table of each method, without its name."""
    return {
        method: part.drop(columns="method") for method, part in table.groupby("method", sort=False)
    }


def problems(tmp_path, tables, **settings):
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, tables, **settings)
    return str(caught.value)


def test_cases_of_one_patient_are_asked_about(tmp_path):
    names = {f"p{case:02}": f"p{case // 6:02}_z{case % 6:03}" for case in range(24)}
    table = scores()
    table["case"] = table["case"].map(names)
    said = "several cases of one patient, such as p00_z000, p00_z001, p00_z002 and 3 more?"
    asked = report_on(tmp_path, table)[0]
    assert asked.startswith(said)
    assert "--group-by '^([^_]+)_'" in asked
    for settings in ({"group_by": "^([^_]+)_"}, {"group_by": "(.*)"}):
        assert not any("one patient" in n for n in report_on(tmp_path, table, **settings))
    told = table.assign(patient=table["case"].str[:3])
    assert not any("one patient" in note for note in report_on(tmp_path, told))
    both = pd.concat([table.assign(dataset="A"), scores().assign(dataset="B")])
    assert report_on(tmp_path, both)[0].startswith(f"A: {said}")


def test_cases_of_one_patient_are_asked_about_for_masks(tmp_path):
    _, found = masks(cases=4)
    of_patients = {f"p{place // 2}_{place % 2}": m for place, m in enumerate(found.values())}
    for folder in ("truth", "a"):
        save(tmp_path / folder, of_patients)
    notes = report_on(
        tmp_path,
        {},
        predictions=[{"method": "a", "path": tmp_path / "a"}],
        truth=tmp_path / "truth",
        jobs=1,
    )
    assert notes[0].startswith("several cases of one patient, such as p0_0, p0_1?")
