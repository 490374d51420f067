import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from study.data.written import disc, picture, read
from toy import check_cases

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.patients import ask_for_patients, find_groups, own_name


def named(folder, names, start=0):
    """Images with masks of these names."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, start=start):
        picture(number).save(folder / "images" / f"{name}.png")
        Image.fromarray(disc(number % 8) * 255).save(folder / "masks" / f"{name}.png")
    return folder


def patients(folder):
    """Parts that share the name p01_1."""
    named(folder / "train", ["p01_1", "p01_2", "p02_1", "p02_2", "p03_1", "p04_1"])
    named(folder / "test", ["p01_1", "p05_1", "p06_1"], start=10)
    return folder


@pytest.mark.parametrize("pattern", ["^([^_]+)_", r"^(p\d+)", "^(...)", "(p..)_.$"])
def test_a_patient_is_found_in_the_files_own_name(tmp_path, pattern):
    """The part that tells namesakes apart is no part of a patient."""
    with pytest.raises(DataError, match=r"test/p01_1 \(or their patients\) are in another part"):
        read(patients(tmp_path), group_by=pattern)


def test_no_message_shows_a_name_that_the_pattern_has_not_seen(tmp_path):
    with pytest.raises(DataError, match=r"is not found in 9 of the names .* such as 'p01_1'"):
        read(patients(tmp_path), group_by="^(train)")


@given(
    patient=st.integers(1, 3),
    scans=st.lists(st.integers(1, 9), min_size=2, max_size=4, unique=True),
    parts=st.sampled_from([("train", "test"), ("test", "validation"), ("train", "validation")]),
)
def test_a_group_does_not_depend_on_the_part(patient, scans, parts):
    names = [f"{part}/p{patient}_{scan}" for part in parts for scan in scans]
    groups = find_groups([*names, "q_1"], "^([^_]*)_")
    assert {groups[name] for name in names} == {f"p{patient}"}


@pytest.mark.parametrize(
    "names",
    [
        [f"patient{case // 4 + 1:02d}_slice{case % 4}" for case in range(12)],
        ["p1-1", "p1-2", "p2-1", "p2-2"],
        [f"Image_{case:02d}{side}" for case in range(1, 15) for side in "LR"],  # CHASE_DB1
        [f"{case:03d}_{side}" for case in range(4) for side in ("left", "right")],
        ["ab_1_x_1", "ab_1_x_2", "ab_2_y_1", "ab_2_y_2"],
        [f"case {case} ({scan}) {slice_}" for case in "1234" for scan in "12" for slice_ in "123"],
        [f"{name}{scan}" for name in ("smith", "jones", "li", "ray") for scan in range(3)],
        ["p1_1", "p1_2", "p2_1", "p2_2", "p3_1", "scout"],
        ["train/p01_1", "p01_2", "test/p01_1", "p02_1", "p02_2", "p03_1", "p04_1"],
        [f"sub-{case:02}_ses-{day:02}_FLAIR" for case in range(4) for day in range(6)],
        [f"sub-{case:02}_{image}" for case in range(4) for image in ("T1w", "FLAIR")],
        [f"p{case}_{image}" for case in range(4) for image in ("T1", "T2")],
        [f"psma_{case}_{year}-04-{case}" for case in (16, 17, 18) for year in (2018, 2019)],
        [f"fdg_{case}_{day}" for case in ("95b8", "9ff0") for day in ("2018-04-16", "2018-05-17")],
        [f"p{case}_z{image:03}_seg.nii.gz" for case in range(4) for image in range(3)],
        [f"patient{case:03}_frame{frame:02}" for case in range(4) for frame in (1, 12)],  # ACDC
        [f"BraTS-GLI-{case:05}-{visit:03}" for case in range(4) for visit in (0, 1)],
    ],
)
def test_names_of_several_cases_of_a_patient_are_asked_about(names):
    (note,) = ask_for_patients(names)
    assert "several cases of one patient, such as" in note
    pattern = re.search("If so: --group-by '(.*?)';", note)[1]
    groups = find_groups(names, pattern)  # does not raise
    assert 2 <= len(set(groups.values())) < len(names)
    shown = re.search("such as ([^,]*), ([^,?]*?)(,| and|[?])", note)
    of_file = {own_name(name): group for name, group in groups.items()}
    assert of_file[shown[1]] == of_file[shown[2]]


@pytest.mark.parametrize(
    "names",
    [
        [f"c{case:02d}" for case in range(12)],  # all of one beginning
        [f"case_{case}" for case in range(5)],
        [f"{case}" for case in range(12)],
        [f"train/{case}" for case in range(5)] + [f"test/{case}" for case in range(5)],
        [f"p{case}_1" for case in range(6)],
        [f"benign_{case}" for case in range(6)] + [f"malignant_{case}" for case in range(6)],
        ["benign (1)", "benign (2)", "malignant (1)", "malignant (2)"],  # BUSI
        ["a", "b", "c"],
        ["p1_1", "p1_2", "p2_1", "p3_1", "p4_1"],  # few share one
        [f"hippocampus_{case:03}" for case in range(6)],
        [f"liver_{case}" for case in range(6)] + [f"lung_{case}" for case in range(6)],
        [f"ISIC_{case:07}" for case in range(12255, 12270)],
        [f"img{case:04}" for case in range(6)],
        [f"BraTS-GLI-{case:05}-000" for case in range(6)],
        [f"sub-{case:02}_FLAIR" for case in range(6)],
        [f"p{case}_T1" for case in range(6)],
        [f"patient{case:03}_frame01" for case in range(6)],
        [f"psma_{case}_2018-04-{case}" for case in range(10, 20)],
        [f"case_{case:03}_0000.nii.gz" for case in range(6)],
        [f"{case:02}_manual1" for case in range(6)],
    ],
)
def test_other_names_are_not(names):
    assert ask_for_patients(names) == ()


def test_the_note_is_gone_once_patients_are_given(tmp_path):
    names = [f"patient{case // 4}_slice{case % 4}" for case in range(12)]
    named(tmp_path, names)
    (note,) = check_cases(read(tmp_path)).notes
    assert note.startswith("several cases of one patient, such as patient0_slice0, patient0_slice1")
    for pattern in ("^([^_]+)_", "(.*)"):
        assert check_cases(read(tmp_path, group_by=pattern)).notes == []


def test_copies_on_both_sides_stop(tmp_path):
    """By links too, and whatever the files' names and times."""
    named(tmp_path, [f"c{case}" for case in range(6)])
    for part in ("images", "masks"):
        for case in range(6):
            (tmp_path / part / f"d{case}.png").symlink_to(tmp_path / part / f"c{case}.png")
    data = read(tmp_path)
    found = check_cases(data)
    sides = [set(part) for part in vars(data.folds[0]).values()]
    apart = [c for c in range(6) if not any({f"c{c}", f"d{c}"} <= side for side in sides)]
    assert apart
    assert found.problems == [
        f"c{case} and d{case}: one image with one mask in two parts of a split; remove all but "
        "one, or keep them in one part (--group-by, --split)"
        for case in apart
    ]
    together = check_cases(read(tmp_path, group_by=r"(\d)"))
    assert together.problems == []
    (note,) = together.notes
    assert note.startswith("the same image under several names: c0 = d0, c1 = d1, ")


def test_one_image_with_two_masks_is_noted(tmp_path):
    named(tmp_path, [f"c{case}" for case in range(6)])
    image = tmp_path / "images" / "c5.png"
    image.write_bytes((tmp_path / "images" / "c0.png").read_bytes())
    found = check_cases(read(tmp_path, folds=2))
    assert found.problems == []
    assert found.notes == [
        "the same image under several names: c0 = c5; are they copies of one file?"
    ]
    masks = [case.load().labels for case in read(tmp_path).cases]
    assert not np.array_equal(masks[0], masks[5])
