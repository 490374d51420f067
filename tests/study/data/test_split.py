import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilated_ce.study.data.cases import Case, CaseSource, DataError, DataSet
from dilated_ce.study.data.checking import look_at_cases
from dilated_ce.study.data.split import make_folds
from dilated_ce.study.data.strata import find_strata

NAMES = {name: name for name in "abcdefgh"}
PATIENTS = {f"{patient}{scan}": patient for patient in "abcdef" for scan in range(2)}


@given(
    groups=st.dictionaries(st.text(min_size=1, max_size=3), st.sampled_from("pqrstuv"), min_size=2),
    folds=st.none() | st.integers(2, 7),
)
def test_every_case_has_one_part_and_no_group_has_two(groups, folds):
    count = len(set(groups.values()))
    if count < (folds or 2):
        with pytest.raises(DataError):
            make_folds(groups, None, None, folds)
        return
    made, _ = make_folds(groups, None, None, folds)
    assert len(made) == (folds or 1)
    for fold in made:
        parts = [set(fold.train), set(fold.validation), set(fold.test)]
        assert set.union(*parts) == set(groups)
        of_parts = [{groups[name] for name in part} for part in parts]
        assert sum(map(len, of_parts)) == count
        assert of_parts[0]
        assert of_parts[2]
    if folds:
        tested = [name for fold in made for name in fold.test]
        assert sorted(tested) == sorted(groups)


def test_the_same_folds_whatever_the_order():
    backwards = dict(reversed(PATIENTS.items()))
    one, other = (make_folds(groups, None, None, 3)[0] for groups in (PATIENTS, backwards))
    assert one == other


def test_names_in_their_order_are_no_test_part():
    """ACDC numbers its patients by disease: a test part of the last names would be one disease."""
    groups = {f"patient{number:03d}": f"patient{number:03d}" for number in range(100)}
    disease = {name: place // 20 for place, name in enumerate(groups)}
    (fold,), words = make_folds(groups, None)
    assert {disease[name] for name in fold.test} == set(range(5))
    assert words == "A fourth of the groups is for testing; drawn at random (seed 0)."
    (other,), _ = make_folds(groups, None, seed=1)
    assert other.test != fold.test


@pytest.mark.parametrize("folds", [None, 4])
@pytest.mark.parametrize("scans", [1, 3])
def test_every_part_has_its_share_of_each_kind(folds, scans):
    groups = {f"{p:02d}-{s}": f"{p:02d}" for p in range(60) for s in range(scans)}
    kinds = {name: "healthy" if int(name[:2]) < 15 else "ill" for name in groups}
    made, words = make_folds(groups, None, None, folds, strata=lambda: kinds)
    assert "stratified by classes and size of the foreground" in words
    for fold in made:
        for part in (fold.train, fold.validation, fold.test):
            share = sum(kinds[name] == "healthy" for name in part) / len(part)
            assert 0.15 <= share <= 0.35


def test_the_kinds_are_the_classes_and_thirds_of_the_size():
    def load(size, label=1):
        labels = np.zeros((10, 10), np.uint8)
        labels.flat[:size] = label
        image = np.random.default_rng(size).normal(size=(1, 10, 10)).astype(np.float32)
        return lambda: Case("x", image, labels)

    def broken():
        raise DataError("no image")

    loads = {f"{size}": load(size) for size in (0, 1, 2, 30, 40, 80, 90)}
    loads |= {"other": load(3, 2), "broken": broken}
    cases = tuple(CaseSource(name, load, name) for name, load in loads.items())
    data = DataSet("x", "", ("background", "a", "b"), ("grey",), 2, "px", None, cases, (), "")
    strata = find_strata(look_at_cases(data))
    assert strata["0"] == "0; 0"
    assert strata["1"] == strata["2"] == "0,1; 1"
    assert strata["80"] == strata["90"] == "0,1; 3"
    assert strata["other"].startswith("0,2; ")
    assert strata["broken"] == "unread; 0"


def test_kinds_are_looked_for_only_where_something_is_drawn(tmp_path):
    def strata():
        raise AssertionError

    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["a", "b"], "validation": ["c"], "test": ["d"]}))
    make_folds(NAMES, None, path, strata=strata)
    parts = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    make_folds(NAMES, parts, strata=strata)


def test_the_parts_of_folders():
    (fold,), words = make_folds(NAMES, {"train": list("abcdef"), "test": ["g", "h"]})
    assert sorted(fold.train + fold.validation) == list("abcdef")
    assert len(fold.validation) == 2  # a fifth of six, upwards
    assert fold.test == ("g", "h")
    assert words == "Split as the folders are."


def test_patients_of_folders_are_on_one_side():
    with pytest.raises(DataError, match=r"test: f1 \(or their patients\) are in another part"):
        make_folds(PATIENTS, {"train": ["a0", "a1", "f0"], "test": ["b0", "f1"]})


@pytest.mark.parametrize("name", ["split.json", "split.yaml"])
def test_a_file_decides(tmp_path, name):
    path = tmp_path / name
    path.write_text(json.dumps({"train": ["a", "b"], "validation": ["c"], "test": ["d"]}))
    (fold,), words = make_folds(NAMES, {"train": ["h"], "test": ["g"]}, path)
    assert (fold.train, fold.validation, fold.test) == (("a", "b"), ("c",), ("d",))
    assert words == f"Split as {name} says."


def test_nnunets_file_of_folds(tmp_path):
    path = tmp_path / "splits_final.json"
    parts = [(list("abcdef"), list("gh")), (list("efgh"), list("abcd"))]
    path.write_text(json.dumps([{"train": train, "val": val} for train, val in parts]))
    folds, _ = make_folds(NAMES, None, path)
    assert [fold.test for fold in folds] == [("g", "h"), ("a", "b", "c", "d")]
    assert len(folds[0].validation) == 2


def test_no_patient_is_tested_in_two_folds(tmp_path):
    path = tmp_path / "split.json"
    folds = [
        {"train": ["a0", "b0"], "val": ["c0", "d0", "d1"]},
        {"train": ["c0", "d0"], "val": ["a0"]},
        {"train": ["c0"], "val": ["b0", "d1"]},
        {"train": ["e0"], "test": ["c1", "d0"]},
    ]
    path.write_text(json.dumps(folds))
    with pytest.raises(DataError) as error:
        make_folds(PATIENTS, None, path)
    heading, *problems = str(error.value).splitlines()
    assert heading.startswith(f"{path}: expected every case, or patient, in the test part")
    assert problems == [
        "  - c is tested in the folds 0, 3",
        "  - d is tested in the folds 0, 2, 3",
    ]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"train": ["a"], "test": ["z"]}, "test: unknown cases z"),
        ({"train": ["a"], "test": []}, "the test part is empty"),
        ({"train": ["a"], "test": ["a"]}, "are in another part too"),
        ({"train": ["a", "a"], "test": ["b"]}, "train: named twice: a"),
        ({"train": ["a"]}, "expected lists of names"),
        ({"train": "a", "test": ["b"]}, "expected lists of names"),
        ("text", "expected lists of names"),
        ([], "holds no split"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, contents, message):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(contents))
    with pytest.raises(DataError, match=message):
        make_folds(NAMES, None, path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        make_folds(NAMES, None, tmp_path / "nowhere.json")
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(DataError, match=r"split.json: is no JSON"):
        make_folds(NAMES, None, tmp_path / "split.json")
