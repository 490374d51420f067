"""What NIfTI headers say twice, in other units, or in another way in each case."""

import gzip
import json

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from study.data.written import read
from toy import check_cases

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.volume_files import read_volume
from dilated_ce.study.data.volumes import stack_axis

SHAPE = (6, 7, 8)


def volumes(folder, spacings, axes=("RAS",), change=lambda image: image):
    """A data set with a case per spacing (R, A, S), stored along these axes by turns."""
    random = np.random.default_rng(0)
    for number, spacing in enumerate(spacings):
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:4, 2:5, 3:6] = 1
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes[number % len(axes)]))
        for part, values in (
            (f"imagesTr/c{number}_0000", random.normal(size=SHAPE).astype("f4")),
            (f"labelsTr/c{number}", labels),
        ):
            path = folder / f"{part}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(values, np.diag([*spacing, 1.0]))
            nibabel.save(change(image.as_reoriented(turn)), path)
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "lesion": 1}}
    (folder / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}))
    return folder


def in_unit(image, unit):
    """An image whose header names the unit of its sizes."""
    image.header.set_xyzt_units(unit)
    return image


def turn_qform(image):
    """An image whose two forms are half a turn apart."""
    image.set_qform(np.diag([-1, -1, 1, 1]), code=1)
    return image


NEARLY = [(1, 1, 1.02), (1.02, 1, 1), (1, 1.01, 1), (1, 1, 1)] * 2


@pytest.mark.parametrize("axes", [("RAS",), ("RAS", "SPL"), ("LPI", "ASR", "RAS")])
def test_nearly_isotropic_volumes_are_all_cut_across_one_axis(tmp_path, axes):
    data = read(volumes(tmp_path, NEARLY, axes), dims=2)
    found = check_cases(data)
    assert found.problems == []
    assert "volumes are cut into slices across their axis to the head" in found.notes
    assert {case.load().labels.shape[0] for case in data.cases} == {SHAPE[2]}


def test_thick_slices_decide_however_they_are_stored(tmp_path):
    data = read(volumes(tmp_path, [(3, 1, 1.1)] * 8, ("RAS", "SPL")), dims=2)
    assert "across their axis to the right" in " ".join(check_cases(data).notes)
    assert {case.load().labels.shape[0] for case in data.cases} == {SHAPE[0]}


def test_slices_across_two_axes_stop(tmp_path):
    folder = volumes(tmp_path, [(1, 1, 5)] * 4 + [(5, 1, 1)] * 4)
    (problem,) = check_cases(read(folder, dims=2)).problems
    assert "across the axis to the head in c0, c1, c2, c3" in problem
    assert "across the axis to the right in c4, c5, c6, c7" in problem
    assert "--dims 3" in problem
    assert check_cases(read(folder)).problems == []


def test_spacings_within_a_tenth_are_alike():
    assert stack_axis(SHAPE, (1.09, 1, 1)) == 2
    assert stack_axis(SHAPE, (1.11, 1, 1)) == 0
    assert stack_axis((1, 7, 8), (1, 1, 9)) == 0  # a single slice


@pytest.mark.parametrize("dims", ["auto", 2])
def test_orientations_that_differ_are_counted(tmp_path, dims):
    data = read(volumes(tmp_path, [(1, 1, 1)] * 8, ("RAS", "SPL")), dims=dims)
    notes = " ".join(check_cases(data).notes)
    assert "stored in different orientations: RAS in 4 cases, SPL in 4 cases" in notes


def test_one_orientation_is_not_noted(tmp_path):
    assert check_cases(read(volumes(tmp_path, [(1, 1, 1)] * 4, ("LPS",)))).notes == []


@pytest.mark.parametrize(("said", "stops"), [((1, 1, 1), True), ((1, 1, 5.01), False)])
def test_pixdim_and_the_affine_say_one_size(tmp_path, said, stops):
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, "f4"), np.diag([1, 1, 5.0, 1])), path)
    header = bytearray(path.read_bytes())
    header[80:92] = np.array(said, "f4").tobytes()
    path.write_bytes(header)
    if stops:
        with pytest.raises(ValueError, match=r"1 x 1 x 1 mm \(pixdim\) and 1 x 1 x 5 mm \(the aff"):
            read_volume(path)
    else:
        assert read_volume(path)[1].spacing == pytest.approx(said)


@pytest.mark.parametrize(("unit", "scale"), [("micron", 1e3), ("meter", 1e-3), ("mm", 1)])
def test_units_are_converted_to_mm(tmp_path, unit, scale):
    sizes = tuple(scale * size for size in (0.5, 0.5, 1.5))
    data = read(volumes(tmp_path, [sizes] * 4, change=lambda image: in_unit(image, unit)))
    case = data.cases[0].load()
    assert case.spacing == pytest.approx((0.5, 0.5, 1.5))
    np.testing.assert_allclose(case.affine, np.diag([0.5, 0.5, 1.5, 1]), rtol=1e-6)
    notes = check_cases(data).notes
    if unit == "mm":
        assert notes == []
    else:
        assert notes[0].startswith(
            f"the voxel sizes are in {unit}s, and were converted to mm, in 4"
        )


def test_two_forms_that_differ_are_noted(tmp_path):
    data = read(volumes(tmp_path, [(1, 1, 1)] * 4, change=turn_qform))
    assert data.cases[0].load().orientation == "RAS"
    (note,) = check_cases(data).notes
    assert note.startswith("sform and qform of the header differ (RAS, LPS); the sform was taken")


def test_two_forms_that_agree_are_not(tmp_path):
    def change(image):
        image.set_qform(image.affine, code=1)
        return image

    assert check_cases(read(volumes(tmp_path, [(1, 1, 1)] * 4, change=change))).notes == []


def say_other_sizes(path):
    """Write another pixdim into a file, beside its sform."""
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[80:92] = np.ones(3, "f4").tobytes()
    path.write_bytes(gzip.compress(bytes(header)))


def test_contradictions_name_their_case(tmp_path):
    folder = volumes(tmp_path, [(1, 1, 5)] * 4)
    say_other_sizes(folder / "labelsTr/c2.nii.gz")
    with pytest.raises(DataError, match=r"c2.nii.gz: its header says two sizes of a voxel"):
        read(folder).by_name["c2"].load()
