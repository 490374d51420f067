"""Predictions beside the truth, scored as `compare` scores its own."""

import json

import numpy as np
import pytest
import SimpleITK
from nnunet_results import masks, save
from PIL import Image

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.reporting import report
from dilated_ce.study.results import predictions
from dilated_ce.study.scores.score import score_case
from dilated_ce.study.settings.report import ReportConfig


def report_on(tmp_path, methods, **settings):
    values = {
        "truth": tmp_path / "truth",
        "resamples": 200,
        "jobs": 1,
        "out": tmp_path / "out",
        **settings,
    }
    found = [{"method": name, "path": path} for name, path in methods.items()]
    made = report(ReportConfig(predictions=found, **values))
    return made, json.loads((tmp_path / "out" / "summary.json").read_text())


@pytest.fixture
def volumes(tmp_path):
    truth, found = masks(cases=4)
    save(tmp_path / "truth", truth)
    save(tmp_path / "a", found)
    save(tmp_path / "b", truth)
    return truth, found


def check(made, truth, found, spacing):
    for name, labels in truth.items():
        expected = score_case(found[name], labels, 3, spacing=spacing, tolerance=2.0)
        of_case = made.cases[(made.cases["case"] == name) & (made.cases["loss"] == "a")]
        for row, scores in zip(of_case.to_dict("records"), expected, strict=True):
            for score in ("dice", "nsd", "hd95", "lesion_f1", "false_alarm"):
                assert row[score] == pytest.approx(scores[score], nan_ok=True), score


def test_volumes(tmp_path, volumes):
    made, summary = report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    check(made, *volumes, (1.0, 1.5, 2.0))
    assert summary["methods"]["b"]["dice"]["mean"] == 1
    assert "classes are the values of the true masks: 0 is the background" in summary["troubles"][0]
    assert (tmp_path / "out" / "lesions.csv").read_text().startswith("method,seed,case,class")
    assert "Lesions by size" in made.path.read_text()
    assert "HD95 -" in summary["sentences"][0]


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_other_formats_and_orientations(tmp_path, volumes, ending):
    (tmp_path / "c").mkdir()
    for name in volumes[1]:
        image = SimpleITK.ReadImage(str(tmp_path / "a" / f"{name}.nii.gz"))
        image = SimpleITK.DICOMOrient(image, "LPI")
        SimpleITK.WriteImage(image, str(tmp_path / "c" / f"{name}{ending}"))
    made, _ = report_on(tmp_path, {"a": tmp_path / "c", "b": tmp_path / "b"})
    check(made, *volumes, (1.0, 1.5, 2.0))


@pytest.mark.parametrize("high", [1, 255])
def test_pictures_with_two_values(tmp_path, high):
    random = np.random.default_rng(0)
    for folder in ("truth", "a", "b"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        truth = random.random((20, 20)) < 0.4
        Image.fromarray(truth.astype(np.uint8) * 255).save(tmp_path / "truth" / f"{number}.png")
        Image.fromarray(truth.astype(np.uint8) * high).save(tmp_path / "a" / f"{number}.png")
        Image.fromarray((~truth).astype(np.uint8) * 255).save(tmp_path / "b" / f"{number}.png")
    made, summary = report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    assert summary["methods"]["a"]["dice"]["mean"] == 1
    assert summary["methods"]["b"]["dice"]["mean"] == 0
    said = "masks hold 0, 1 where the true ones hold 0, 255" in " ".join(summary["troubles"])
    assert said == (high == 1)
    assert " px" in made.path.read_text()


def test_names_of_classes(tmp_path, volumes):
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumor": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps({**about, "file_ending": ".nii.gz"}))
    made, _ = report_on(tmp_path, {"a": tmp_path / "a"})
    assert set(made.cases["class"]) == {"liver", "tumor"}
    classes = {"background": 0, "left": 1, "right": 2}
    made, _ = report_on(tmp_path, {"a": tmp_path / "a"}, mask_classes=classes)
    assert set(made.cases["class"]) == {"left", "right"}


def test_voxels_that_nobody_labelled(tmp_path):
    truth, found = masks(cases=3)
    holed = {
        name: np.where(np.arange(8) < 4, labels, 9).astype(np.uint8)
        for name, labels in truth.items()
    }
    save(tmp_path / "truth", holed)
    save(tmp_path / "a", found)
    made, _ = report_on(tmp_path, {"a": tmp_path / "a"}, ignore_value=9)
    cut = {name: labels[..., :4] for name, labels in truth.items()}
    dice = made.cases.set_index(["case", "class"])["dice"]
    for name, labels in cut.items():
        both = ((labels == 1) & (found[name][..., :4] == 1)).sum()
        total = (labels == 1).sum() + (found[name][..., :4] == 1).sum()
        assert dice[name, "1"] == pytest.approx(2 * both / total)


def test_finished_cases_are_kept(tmp_path, volumes, monkeypatch):
    report_on(tmp_path, {"a": tmp_path / "a"})
    scored = []
    score = predictions.score_pair
    monkeypatch.setattr(
        predictions, "score_pair", lambda pair: scored.append(pair.who["loss"]) or score(pair)
    )
    first, _ = report_on(tmp_path, {"a": tmp_path / "a"})
    assert scored == []
    with (tmp_path / "out" / "scored.jsonl").open("a") as file:
        file.write('{"key": "half a l')  # a process was killed
    again, _ = report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    assert scored == ["b"] * 4
    assert again.cases.iloc[: len(first.cases)].equals(first.cases)
    save(tmp_path / "a", {"case_00": volumes[0]["case_00"]}, spacing=(1.0, 1.5, 2.0))
    report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    assert scored == ["b"] * 4 + ["a"]
    report_on(tmp_path, {"a": tmp_path / "a"}, scoring={"tolerance": 1.0})
    assert scored == ["b"] * 4 + ["a"] * 5


def test_in_other_processes_it_is_the_same(tmp_path, volumes, monkeypatch):
    here, _ = report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    monkeypatch.setattr(predictions, "FEW", 0)
    there, _ = report_on(
        tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"}, jobs=2, out=tmp_path / "other"
    )
    assert there.cases.equals(here.cases)


def test_names_that_do_not_fit(tmp_path, volumes):
    save(tmp_path / "c", {f"x{name}": labels for name, labels in volumes[1].items()})
    with pytest.raises(DataError, match="no mask has the name of a true one; got xcase_00"):
        report_on(tmp_path, {"c": tmp_path / "c"})
    (tmp_path / "a" / "case_03.nii.gz").unlink()
    with pytest.raises(DataError, match=r"a lacks one case that others have .*: case_03"):
        report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    _, summary = report_on(tmp_path, {"a": tmp_path / "a"})
    assert "one true mask without a prediction of any method: case_03" in summary["troubles"][0]


def test_all_files_that_are_wrong_are_named(tmp_path, volumes):
    (tmp_path / "a" / "case_00.nii.gz").write_bytes(b"nothing")
    save(tmp_path / "a", {"case_01": volumes[1]["case_01"][:5]})
    save(tmp_path / "a", {"case_02": np.full((12, 12, 8), 7, np.uint8)})
    save(tmp_path / "a", {"case_03": volumes[1]["case_03"]}, spacing=(1.0, 1.5, 3.0))
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, {"a": tmp_path / "a"})
    for said in (
        "case_00.nii.gz",
        "has 5 x 12 x 8 voxels, the true mask 12 x 12 x 8",
        "case_02.nii.gz: holds the label 7, the true masks names 0, 1, 2",
        "got voxels of 1 x 1.5 x 3, those of",
    ):
        assert said in str(caught.value)
