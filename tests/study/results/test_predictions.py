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
        "a: cannot be read as NIfTI",
        "(one case: case_00)",
        "has 5 x 12 x 8 voxels, the true mask 12 x 12 x 8; resample it (one case: case_01)",
        "holds the label 7, expected one of 0, 1, 2, by the true masks: save it with these values "
        "(one case: case_02)",
        "got voxels of 1 x 1.5 x 3, those of the true mask have 1 x 1.5 x 2; resample",
    ):
        assert said in str(caught.value)


def test_one_cause_is_told_once(tmp_path, volumes):
    """Whatever numbers it has from case to case."""
    _, found = volumes
    for place, (name, labels) in enumerate(found.items()):
        save(tmp_path / "probable", {name: (labels / (2.0 + place)).astype(np.float32)})
        save(tmp_path / "other", {name: np.where(labels == 2, 9, labels).astype(np.uint8)})
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, {name: tmp_path / name for name in ("probable", "other")})
    other, probable = str(caught.value).splitlines()[1:]
    assert "save probabilities as labels, such as those above 0.5 (4 cases: case_00" in probable
    assert "other: holds the label 9, expected one of 0, 1, 2" in other
    assert "(4 cases: case_00, case_01, case_02 and 1 more)" in other


@pytest.mark.parametrize(("of_truth", "of_predictions"), [(1, 255), (255, 1)])
def test_volumes_with_the_two_usual_foregrounds(tmp_path, of_truth, of_predictions):
    truth, found = masks(cases=4)
    binary = [{name: labels > 0 for name, labels in part.items()} for part in (truth, found)]
    binary[1]["case_00"][:] = False  # an empty mask has one value alone
    for folder, part, value in (
        ("truth", binary[0], of_truth),
        ("a", binary[1], of_predictions),
        ("b", binary[1], of_truth),
    ):
        save(tmp_path / folder, {n: (value * m).astype(np.uint8) for n, m in part.items()})
    made, summary = report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    a, b = (made.cases[made.cases["loss"] == name]["dice"].to_numpy() for name in "ab")
    expected = [
        2 * (binary[0][name] & binary[1][name]).sum()
        / (binary[0][name].sum() + binary[1][name].sum())
        for name in truth
    ]  # fmt: skip
    np.testing.assert_allclose(a, expected)
    np.testing.assert_array_equal(a, b)
    said = [f"a: {of_predictions} in its masks is read as the foreground"]
    assert [note for note in summary["troubles"] if "in its masks" in note] == said
    save(tmp_path / "a", {n: (2 * m).astype(np.uint8) for n, m in binary[1].items()})
    with pytest.raises(DataError, match="holds the label 2, expected one of 0, "):
        report_on(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})


def test_pictures_with_soft_edges(tmp_path):
    mask = np.zeros((24, 24), np.uint8)
    mask[6:16, 6:16] = 255
    soft = np.asarray(Image.fromarray(mask).resize((48, 48), Image.BILINEAR).resize((24, 24)))
    for folder, values in (("truth", mask), ("a", mask), ("b", soft)):
        (tmp_path / folder).mkdir()
        for place in range(4):
            Image.fromarray(np.roll(values, place, 0)).save(tmp_path / folder / f"{place}.png")
    methods = {"a": tmp_path / "a", "b": tmp_path / "b"}
    with pytest.raises(DataError, match=r"masks with soft edges: --mask-threshold 127 \(4 cases"):
        report_on(tmp_path, methods)
    made, _ = report_on(tmp_path, methods, mask_threshold=127)
    assert (made.cases["dice"] > 0.9).all()


@pytest.mark.parametrize("names", ["{}_pred", "pred_{}"])
def test_names_with_something_beside(tmp_path, volumes, names):
    save(tmp_path / "c", {names.format(name): labels for name, labels in volumes[1].items()})
    beside = names.format("")
    with pytest.raises(DataError, match=f"rename them: each has '{beside}' beside the name of a"):
        report_on(tmp_path, {"c": tmp_path / "c"})


def test_a_class_that_no_mask_holds_is_in_no_mean(tmp_path, volumes):
    """It would score 1 under every method, and bring all differences nearer to 0."""
    truth, found = volumes
    methods = {"a": tmp_path / "a", "b": tmp_path / "b"}
    plain, _ = report_on(tmp_path, methods)
    classes = {"background": 0, "one": 1, "two": 2, "three": 3}
    named, _ = report_on(tmp_path, methods, mask_classes=classes, out=tmp_path / "named")
    assert list(named.cases["class"].unique()) == ["one", "two"]
    np.testing.assert_array_equal(named.cases["dice"], plain.cases["dice"])
    notes = json.loads((tmp_path / "named" / "summary.json").read_text())["troubles"]
    assert "class three: no case holds it, and no method predicts it: left out" in notes
    found["case_00"][0, 0, 0] = 3  # a false alarm is one
    save(tmp_path / "a", found)
    named, _ = report_on(tmp_path, methods, mask_classes=classes, out=tmp_path / "named")
    third = named.cases[named.cases["class"] == "three"]
    assert third[third["loss"] == "a"]["dice"].tolist() == [0, 1, 1, 1]
    notes = json.loads((tmp_path / "named" / "summary.json").read_text())["troubles"]
    assert any("class three: no case holds it, and some method predicts it" in n for n in notes)
    alarms, _ = report_on(
        tmp_path, methods, mask_classes=classes, out=tmp_path / "skip", scoring={"empty": "skip"}
    )
    assert "three" in set(alarms.cases["class"])
    empty = {name: np.zeros_like(labels) for name, labels in truth.items()}
    for folder in ("truth", "a", "b"):
        save(tmp_path / folder, empty)
    with pytest.raises(DataError, match="no case holds a class, and none is predicted: one, two"):
        report_on(tmp_path, methods, mask_classes={"background": 0, "one": 1, "two": 2})
