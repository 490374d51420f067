"""What masks hold and what their files are called: read as it is meant, or asked about."""

import json

import numpy as np
import pytest
from nnunet_results import masks, save
from PIL import Image

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.volumes import class_indices
from dilated_ce.study.reporting import report
from dilated_ce.study.settings.report import ReportConfig


def report_on(tmp_path, *methods, **settings):
    """The scores and the notes of a report on folders of predictions."""
    values = {"truth": tmp_path / "truth", "resamples": 200, "jobs": 1, "out": tmp_path / "out"}
    found = [{"method": name, "path": tmp_path / name} for name in methods]
    made = report(ReportConfig(predictions=found, **values | settings))
    return made.cases, json.loads((tmp_path / "out" / "summary.json").read_text())["troubles"]


def problems(tmp_path, *methods, **settings):
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, *methods, **settings)
    return str(caught.value)


@pytest.fixture
def volumes(tmp_path):
    truth, found = masks(cases=4)
    for folder, part in (("truth", truth), ("a", found), ("b", truth)):
        save(tmp_path / folder, part)
    return truth, found


@pytest.mark.parametrize(
    ("void", "said"), [(255, "holds the value 255 beside small ones"), (-1, "below 0: a class, or")]
)
def test_voxels_that_nobody_labelled_are_asked_about(tmp_path, volumes, void, said):
    truth, _ = volumes
    cut = {name: labels.astype(np.int16) for name, labels in truth.items()}
    for labels in cut.values():
        labels[:2] = void
    save(tmp_path / "truth", cut)
    message = problems(tmp_path, "a")
    assert said in message
    assert f"--ignore-value {void}" in message
    given, _ = report_on(tmp_path, "b", ignore_value=str(void) if void < 0 else void)
    assert set(given["class"]) == {"1", "2"}
    assert (given["dice"] == 1).all()


def test_volumes_coded_in_two_ways(tmp_path, volumes):
    truth, _ = volumes
    binary = {name: (labels > 0).astype(np.uint8) for name, labels in truth.items()}
    binary["case_00"] *= 255
    save(tmp_path / "truth", binary)
    assert "the masks are coded in two ways: case_01.nii.gz holds the value 1, case_00" in (
        problems(tmp_path, "b")
    )


def numbered(cases=4):
    """Masks whose values count their objects."""
    found = {}
    for case in range(cases):
        labels = np.zeros((20, 8, 8), np.uint8)
        for place in range(1 + case % 4):
            labels[5 * place : 5 * place + 3, 2:6, 2:6] = place + 1
        found[f"case_{case:02}"] = labels
    return found


def test_numbers_of_objects_are_asked_about(tmp_path):
    objects = numbered()
    save(tmp_path / "truth", objects)
    save(tmp_path / "a", {name: (labels > 0).astype(np.uint8) for name, labels in objects.items()})
    assert "are these numbers of objects, or classes?" in problems(tmp_path, "a")
    classes = {"background": 0, "one": 1, "two": 2, "three": 3, "four": 4}
    _, notes = report_on(tmp_path, "a", mask_classes=classes)
    (note,) = [note for note in notes if "predicted in no case by any method" in note]
    assert all(name in note for name in ("two", "three", "four"))


@pytest.mark.parametrize("values", [range(16), (0, 1, 2, 4), (0, 2, 41, 251, 255)])
def test_usual_classes_are_not_asked_about(tmp_path, values):
    random = np.random.default_rng(0)
    truth = {
        f"case_{case}": np.array(values, np.uint8)[random.integers(0, len(values), (8, 8, 8))]
        for case in range(3)
    }
    for folder in ("truth", "a"):
        save(tmp_path / folder, truth)
    cases, notes = report_on(tmp_path, "a")
    assert set(cases["class"]) == {str(value) for value in values if value}
    assert len(notes) == 2  # the values are classes; there is one method


def test_an_organ_and_its_tumor_are_classes(tmp_path):
    truth = numbered()
    for folder in ("truth", "a"):
        save(tmp_path / folder, {name: labels.clip(max=2) for name, labels in truth.items()})
    cases, _ = report_on(tmp_path, "a")
    assert set(cases["class"]) == {"1", "2"}


def test_a_value_below_0_is_told_from_the_largest(tmp_path):
    labels = np.array([[-1, 0, 1, 2]], np.int32)
    found = class_indices(labels, tmp_path, ((0,), (1,), (2,)), ignored=-1)
    assert found.tolist() == [[255, 0, 1, 2]]


def test_true_pictures_and_predicted_volumes(tmp_path, volumes):
    (tmp_path / "pictures").mkdir()
    for name, labels in volumes[0].items():
        values = (labels[..., 4] > 0).astype(np.uint8) * 255
        Image.fromarray(values).save(tmp_path / "pictures" / f"{name}.png")
    said = problems(tmp_path, "a", truth=tmp_path / "pictures")
    assert "a: holds volumes (case_00.nii.gz, case_01.nii.gz and 2 more) where the true" in said


def test_masks_one_folder_down(tmp_path, volumes):
    (tmp_path / "c").mkdir()
    (tmp_path / "a").rename(tmp_path / "c" / "inner")
    said = problems(tmp_path, "c")
    assert "holds no mask" in said
    assert "its folders do (inner/case_00.nii.gz): name one, or move the masks up" in said


def test_names_that_hold_more_on_either_side(tmp_path, volumes):
    truth, _ = volumes
    save(tmp_path / "t", {f"{name}-seg": labels for name, labels in truth.items()})
    said = problems(tmp_path, "a", truth=tmp_path / "t")
    assert "each true one has '-seg' beside the name of a predicted one" in said
    numbers = dict(zip(("case_1", "case_10", "case_2", "case_20"), truth.values(), strict=True))
    save(tmp_path / "n", numbers)
    save(tmp_path / "p", {f"{name}_pred": labels for name, labels in numbers.items()})
    said = problems(tmp_path, "p", truth=tmp_path / "n")
    assert "each has '_pred' beside the name of a true one" in said


def test_predicted_pictures_with_other_values_of_classes(tmp_path):
    for folder in ("truth", "a"):
        (tmp_path / folder).mkdir()
    for case in range(3):
        labels = np.zeros((24, 24), np.uint8)
        labels[4:20, 4:12], labels[4:20, 12:20] = 1, 2
        Image.fromarray(labels).save(tmp_path / "truth" / f"{case}.png")
        Image.fromarray(labels * 127).save(tmp_path / "a" / f"{case}.png")
    said = problems(tmp_path, "a")
    assert "expected one of 0, 1, 2, which the true masks hold: save it with these values" in said
    assert "--ignore-value" not in said


def test_a_mask_that_is_missing_may_be_empty(tmp_path, volumes):
    (tmp_path / "a" / "case_03.nii.gz").unlink()
    said = problems(tmp_path, "a", "b")
    assert "flatters the method: save an empty mask, or compare on the shared" in said


def test_files_that_cannot_be_read(tmp_path, volumes):
    path = tmp_path / "a" / "case_01.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    said = problems(tmp_path, "a")
    assert '"' not in said
    assert "a: cannot be read as NIfTI" in said
    path.unlink()
    path.symlink_to("nowhere.nii.gz")
    assert "a/case_01.nii.gz: link to nowhere.nii.gz leads nowhere" in problems(tmp_path, "a")


def test_a_dataset_json_without_channels(tmp_path, volumes):
    about = tmp_path / "dataset.json"
    about.write_text('{"name": "an export", "files": 3}')
    cases, _ = report_on(tmp_path, "a")
    assert set(cases["class"]) == {"1", "2"}
    about.write_text(json.dumps({"labels": {"background": 0, "liver": 1, "tumor": 2}}))
    cases, _ = report_on(tmp_path, "a")
    assert set(cases["class"]) == {"liver", "tumor"}
