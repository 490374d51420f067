"""`dataset.json` of every age, and volumes in every format: the same cases, or what is wrong."""

import json
import unicodedata

import nibabel
import numpy as np
import pytest
import SimpleITK
from study.data.written import read
from toy import check_cases

from dilated_ce.study.data.cases import DataError, mask_of

SHAPE = (12, 10, 6)
AFFINE = np.array([[0.9, 0, 0, -7], [0, -1.1, 0, 5], [0, 0, 2.5, 3], [0, 0, 0, 1]])
LABELS = {"background": 0, "rim": 1, "core": 2}


def labels_of(number):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2 : 8 + number, 2:9, 1:5] = 1
    labels[4 + number // 2 : 7, 4:7, 2:4] = 2
    return labels


def image_of(number, channel=0):
    return np.random.default_rng([number, channel]).normal(size=SHAPE).astype(np.float32)


def save(values, path, affine=AFFINE):
    """Write an array (x, y, z) at the places that the affine, of NIfTI's axes, tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(values, affine), path)
        return
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    SimpleITK.WriteImage(image, str(path))


def write(folder, ending=".nii.gz", count=4, channels=1, numbered=True, **contents):
    for number in range(count):
        for channel in range(channels):
            suffix = f"_{channel:04d}" if numbered else ""
            save(image_of(number, channel), folder / f"imagesTr/c{number}{suffix}{ending}")
        save(labels_of(number), folder / f"labelsTr/c{number}{ending}")
    names = {str(channel): f"T{channel}" for channel in range(channels)}
    description = {"channel_names": names, "labels": LABELS, "file_ending": ending} | contents
    kept = {key: value for key, value in description.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(kept))
    return folder


def old(folder, **contents):
    """As nnU-Net's first version and the Decathlon write it."""
    pairs = [
        {"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"} for n in range(4)
    ]
    by_value = {"0": "background", "1": "rim", "2": "core"}
    changes = {"modality": {"0": "MRI"}, "labels": by_value, "training": pairs} | contents
    return write(folder, **{"channel_names": None, "file_ending": None} | changes)


def check(folder, names=("c0", "c1", "c2", "c3"), channels=1):
    data = read(folder)
    assert tuple(case.name for case in data.cases) == names
    assert data.classes == tuple(LABELS)
    for case in data.cases:
        loaded, number = case.load(), int(case.name[1:])
        np.testing.assert_array_equal(loaded.labels, labels_of(number))
        expected = [image_of(number, channel) for channel in range(channels)]
        np.testing.assert_allclose(loaded.image, expected, rtol=1e-6)
        np.testing.assert_allclose(loaded.spacing, (0.9, 1.1, 2.5), rtol=1e-5)
        np.testing.assert_allclose(loaded.affine, AFFINE, atol=1e-5)
    return data


def refused(folder, message):
    with pytest.raises(DataError, match=message):
        read(folder)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats(tmp_path, ending, channels):
    check(write(tmp_path, ending, channels=channels), channels=channels)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_damaged_files(tmp_path, ending):
    write(tmp_path, ending)
    path = tmp_path / f"labelsTr/c1{ending}"
    whole = path.read_bytes()
    data = read(tmp_path)
    for contents in (whole[: len(whole) // 2], whole[:40], b"nothing of the kind", b""):
        path.write_bytes(contents)
        (problem,) = check_cases(data).problems
        assert problem.startswith(f"c1: c1{ending}: ")
        assert problem.endswith("copy the file again")


def test_the_key_dataset_is_obeyed(tmp_path):
    def listed(folder, *names):
        return {
            name: {
                "images": [f"{folder[0]}/{name}_0000.nii.gz"],
                "label": f"{folder[1]}/{name}.nii.gz",
            }
            for name in names
        }

    write(tmp_path, numTraining=4, dataset=listed(("imagesTr", "labelsTr"), "c0", "c2"))
    data = check(tmp_path, ("c0", "c2"))
    assert data.notes[0].startswith("not read: imagesTr/c1_0000.nii.gz, imagesTr/c3_0000.nii.gz, l")
    assert data.notes[1] == "dataset.json says numTraining 4, and 2 cases are there"
    for old_name, new in (("imagesTr", "mri"), ("labelsTr", "seg")):
        (tmp_path / old_name).rename(tmp_path / new)
    refused(tmp_path, r"imagesTr/c0_0000.nii.gz: no such file")
    description = json.loads((tmp_path / "dataset.json").read_text())
    description["dataset"] = listed(("mri", "seg"), "c1", "c3")
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    check(tmp_path, ("c1", "c3"))
    description["dataset"] = {"c1": {"image": "mri/c1_0000.nii.gz"}}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    refused(tmp_path, 'dataset: expected such as {"case"')


def test_nnunets_first_version(tmp_path):
    """Its list leaves out the number of the channel that the files have."""
    check(old(tmp_path / "one"))
    check(old(tmp_path / "two", channels=2, modality={"0": "T1", "1": "T2"}), channels=2)
    check(old(tmp_path / "ten", labels={"background": "0", "rim": "1", "core": "2"}))


def test_the_decathlon(tmp_path):
    check(old(tmp_path, numbered=False))


def test_a_list_of_images_is_of_channels(tmp_path):
    pairs = [
        {
            "image": [f"imagesTr/c{n}_0000.nii.gz", f"imagesTr/c{n}_0001.nii.gz"],
            "label": f"labelsTr/c{n}.nii.gz",
        }
        for n in range(4)
    ]
    old(tmp_path, channels=2, modality={"0": "T1", "1": "T2"}, training=pairs)
    check(tmp_path, channels=2)


@pytest.mark.parametrize(
    "path",
    ["imagesTr\\c{}.nii.gz", ".\\imagesTr\\c{}.nii.gz", "{folder}/imagesTr/c{}.nii.gz"],
)
def test_paths_as_other_systems_write_them(tmp_path, path):
    pairs = [
        {
            "image": path.replace("{folder}", str(tmp_path)).format(n),
            "label": path.replace("{folder}", str(tmp_path)).replace("images", "labels").format(n),
        }
        for n in range(4)
    ]
    check(old(tmp_path, training=pairs))


def test_names_in_two_forms_of_unicode(tmp_path):
    old(tmp_path, numbered=False)
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part / "c0.nii.gz").rename(tmp_path / part / f"{other}.nii.gz")
    text = (tmp_path / "dataset.json").read_text().replace("/c0.", f"/{one}.")
    (tmp_path / "dataset.json").write_text(text)
    assert one in [case.name for case in read(tmp_path).cases]


def test_a_list_that_differs_from_the_folder(tmp_path):
    pairs = [{"image": f"imagesTr/c{n}.nii.gz", "label": f"labelsTr/c{n}.nii.gz"} for n in range(3)]
    write(tmp_path, training=pairs)
    refused(tmp_path, "training lists 3 cases, and labelsTr holds 4; they differ in c3. nnU-Net's")
    pairs.append({"image": "imagesTr/c3.nii.gz", "label": "labelsTr/c3.nii.gz"})
    check(write(tmp_path, training=pairs))


def test_files_that_are_not_read_are_named(tmp_path):
    write(tmp_path)
    save(labels_of(0), tmp_path / "labelsTr/c9.nii")
    save(image_of(0), tmp_path / "imagesTr/c8_0000.nii.gz")
    save(image_of(0), tmp_path / "imagesTr/c1_0001.nii.gz")
    save(image_of(0), tmp_path / "imagesTs/c7_0000.nii.gz")
    assert check(tmp_path).notes == (
        "not read: imagesTr/c1_0001.nii.gz, imagesTr/c8_0000.nii.gz, imagesTs/ (one file), "
        "labelsTr/c9.nii",
    )
    for number in range(10, 15):
        (tmp_path / f"imagesTr/c{number}_0000.npy").write_bytes(b"")
        (tmp_path / f"labelsTr/c{number}.npy").write_bytes(b"")
    (tmp_path / "labelsTr/README.md").write_text("of nothing")
    (note,) = check(tmp_path).notes
    assert "5 .npy files such as imagesTr/c10_0000.npy" in note
    assert "5 .npy files such as labelsTr/c10.npy" in note
    assert "README" not in note


@pytest.mark.parametrize("name", ["imagesTr/c1_0000.nii.gz", "labelsTr/c1.nii.gz", "labelsTr"])
@pytest.mark.parametrize("is_listed", [False, True])
def test_links_that_lead_nowhere(tmp_path, name, is_listed):
    if is_listed:
        old(tmp_path)
    else:
        write(tmp_path)
        (tmp_path / "imagesTs").mkdir()
        (tmp_path / "imagesTs/c7_0000.nii.gz").symlink_to("/nowhere")  # which nobody needs
        check(tmp_path)
    name = name.replace("_0000", "") if not (tmp_path / name).exists() else name
    path = tmp_path / name
    path.rename(tmp_path / "moved")
    path.symlink_to("/nowhere")
    outside = is_listed and name == "labelsTr"  # where no listed file may be
    refused(tmp_path, f"{name}.*: {'is outside' if outside else 'link to /nowhere'}")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0": "1", "1": "2", "2": "0"}, "'0': '1' can be the class '0' with the value 1 or "),
        ({"0": "a", "1": "a"}, "two labels have the same name"),
        ({"background": 0, "a": True}, "one whole number per class"),
        ({"background": 0, "a": [1, 2], "b": [2, 1]}, "two labels have the same value"),
        ({"background": 0, "a": [1, 2], "b": [0, 1]}, "the region 'b' holds the background"),
        ({"background": 0, "a": [1, 2], "ignore": [3, 4]}, "ignore: got .3, 4., expected one"),
        (
            {"background": 0} | {f"r{n}": [n, n + 1] for n in range(1, 9)},
            "got 8 regions, expected at most 7",
        ),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, labels, message):
    refused(write(tmp_path, labels=labels), message)


def test_a_key_that_is_there_twice(tmp_path):
    write(tmp_path)
    text = (tmp_path / "dataset.json").read_text().replace('"rim": 1', '"rim": 1, "rim": 2')
    (tmp_path / "dataset.json").write_text(text)
    refused(tmp_path, "the key 'rim' is there twice")


def test_regions_are_classes_that_overlap(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    write(tmp_path, labels=labels, regions_class_order=[1, 2])
    truth = labels_of(0)
    truth[0] = 3
    save(truth, tmp_path / "labelsTr/c0.nii.gz")
    data = read(tmp_path)
    assert (data.classes, data.overlapping) == (("background", "whole", "core"), True)
    found = data.cases[0].load().labels
    for index, members in ((0, [0]), (1, [1, 2]), (2, [2])):
        np.testing.assert_array_equal(mask_of(found, index, True), np.isin(truth, members))
    assert ((found == 255) == (truth == 3)).all()
    voxels = check_cases(data).voxels
    assert voxels.loc["c0"].tolist() == [
        (truth == 0).sum(),
        (truth % 3 > 0).sum(),
        (truth == 2).sum(),
    ]
    refused(
        write(tmp_path, labels=labels, regions_class_order=[1]), "a value for each of the 2 reg"
    )


def test_one_value_in_a_list_is_a_class(tmp_path):
    write(tmp_path, labels={"background": 0, "rim": [1], "core": [2]})
    assert not check(tmp_path).overlapping


@pytest.mark.parametrize(("offset", "is_whole"), [(-1e-5, True), (2e-4, True), (0.5, False)])
def test_labels_that_went_through_fractions(tmp_path, offset, is_whole):
    write(tmp_path)
    values = labels_of(1).astype(np.float32)
    values[values == 2] += offset
    save(values, tmp_path / "labelsTr/c1.nii.gz")
    if is_whole:
        check(tmp_path)
        return
    (problem,) = check_cases(read(tmp_path)).problems
    assert "no whole numbers, or too large, such as 2.5; expected" in problem


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("codes", ["LPS", "RAS", "SAR", "PIL"])
def test_image_and_labels_in_other_orientations(tmp_path, ending, codes):
    write(tmp_path, ending)
    original = nibabel.Nifti1Image(labels_of(1), AFFINE)
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(codes)
    )
    turned = original.as_reoriented(change)
    save(np.asarray(turned.dataobj), tmp_path / f"labelsTr/c1{ending}", turned.affine)
    check(tmp_path)
    notes = check_cases(read(tmp_path)).notes
    axes = " and ".join(sorted({codes, "RPS"}))
    assert notes == [
        f"image and labels are stored in different orientations ({axes}), and were turned, in one "
        "case: c1"
    ]


def test_a_channel_in_another_orientation(tmp_path):
    write(tmp_path, channels=2)
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(image_of(2, 1), AFFINE))
    nibabel.save(turned, tmp_path / "imagesTr/c2_0001.nii.gz")
    check(tmp_path, channels=2)
