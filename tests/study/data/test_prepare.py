import functools
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensity
from toy import make_case, make_dataset

from dilated_ce.study import machine, processes
from dilated_ce.study.data import prepare as prepare_module
from dilated_ce.study.data.cases import Case, CaseSource, DataError, Split
from dilated_ce.study.data.intensities import normalise
from dilated_ce.study.data.prepare import MOST_CENTRES, Recipe, prepare, strange_files
from dilated_ce.study.data.prepared import Prepared


def read(path):
    values = np.load(path)
    return Case("a", values[None].astype(np.float32), (values > 0.9).astype(np.uint8))


@pytest.fixture
def one_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.random.default_rng(0).random((20, 30)))
    source = CaseSource("a", functools.partial(read, path), "a", (path,))
    return path, make_dataset(cases=5, classes=("background", "x")), source


def with_case(data, source):
    return type(data)(**{**vars(data), "cases": (*data.cases, source)})


def test_images_are_normalised_and_labels_kept(tmp_path):
    data = make_dataset()
    prepared = prepare(data, tmp_path / "prepared")
    for number, source in enumerate(data.cases):
        case = prepared.load(source.name)
        assert case.image.mean(dtype=float) == pytest.approx(0, abs=1e-3)
        assert case.image.std(dtype=float) == pytest.approx(1, abs=1e-3)
        np.testing.assert_array_equal(case.labels, make_case(number, 2).labels)
        assert case.spacing == (1, 1)


def test_normalised_as_monai_does_and_alike_with_any_number_of_threads(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, 700 + 30 * np.random.default_rng(9).random((300, 400)))
    source = CaseSource("a", functools.partial(read, path), "a", (path,))
    data = with_case(make_dataset(cases=5, classes=("background", "x")), source)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            prepare(data, tmp_path / f"with_{number}")
    finally:
        torch.set_num_threads(threads)
    one, two = (Prepared(tmp_path / f"with_{number}") for number in (1, 2))
    assert one.digest == two.digest
    expected = NormalizeIntensity(channel_wise=True)(source.load().image)
    np.testing.assert_allclose(one.load("a").image, expected, atol=2e-3)


def test_a_constant_channel_becomes_zero():
    assert not normalise(np.full((1, 20, 30), 7, np.float32), []).any()


def test_centres_are_voxels_of_their_class(tmp_path):
    prepared = prepare(make_dataset(3), tmp_path / "prepared")
    labels = prepared.load("case2").labels
    centres = prepared.centres("case2")
    np.testing.assert_array_equal(labels[tuple(centres[:, 1:].T)], centres[:, 0])
    counts = np.bincount(labels.ravel())[1:]
    assert np.bincount(centres[:, 0])[1:].tolist() == np.minimum(counts, MOST_CENTRES).tolist()


@pytest.fixture
def read_cases(monkeypatch):
    """The names of the cases that are read."""
    names = []
    make = Recipe.make
    monkeypatch.setattr(Recipe, "make", lambda self, s: names.append(s.name) or make(self, s))
    return names


def test_what_changes_is_read_again_and_nothing_else(tmp_path, one_file, read_cases):
    path, data, source = one_file
    data = with_case(data, source)
    digest = prepare(data, tmp_path / "prepared").digest
    assert read_cases == [case.name for case in data.cases]
    read_cases.clear()
    seen = []
    assert prepare(data, tmp_path / "prepared", lambda: seen.append(1)).digest == digest
    assert (read_cases, len(seen)) == ([], 6)
    np.save(path, np.random.default_rng(1).random((20, 30)))
    assert prepare(data, tmp_path / "prepared").digest != digest
    assert read_cases == ["a"]
    read_cases.clear()
    of_three_classes = make_dataset()
    prepare(of_three_classes, tmp_path / "prepared")
    assert len(read_cases) == 8
    stems = {p.name[:16] for p in (tmp_path / "prepared").iterdir()} - {"index.json"}
    assert len(stems) == 8  # what is of no use any more is gone


def test_a_copy_is_kept_though_its_files_are_of_another_time(tmp_path, read_cases):
    digest = prepare(make_dataset(), tmp_path / "prepared").digest
    read_cases.clear()
    for path in (tmp_path / "prepared").iterdir():
        os.utime(path, (1e9, 1e9))
    for _ in range(2):
        assert prepare(make_dataset(), tmp_path / "prepared").digest == digest
    assert read_cases == []


def test_cases_without_problems_stay_prepared_beside_one_that_is_refused(tmp_path, read_cases):
    path = tmp_path / "a.npy"
    np.save(path, np.full((20, 30), 7.0))
    data = make_dataset(cases=5, classes=("background", "x"))
    data = with_case(data, CaseSource("a", functools.partial(read, path), "a", (path,)))
    with pytest.raises(DataError, match="a: all its voxels have the same value"):
        prepare(data, tmp_path / "prepared")
    assert strange_files(tmp_path / "prepared") == []
    np.save(path, np.random.default_rng(1).random((20, 30)))
    read_cases.clear()
    prepare(data, tmp_path / "prepared")
    assert read_cases == ["a"]


def test_several_processes_prepare_the_same(tmp_path, monkeypatch):
    def digest(cores, seconds):
        monkeypatch.setattr(processes, "ALONE_SECONDS", seconds)
        monkeypatch.setattr(machine, "cores", lambda: cores)
        return prepare(make_dataset(3), tmp_path / f"with_{cores}").digest

    assert digest(1, 99) == digest(2, 0)


@pytest.mark.parametrize("damage", ["", "{", '{"origin": 1}', "[]"])
def test_a_damaged_index_is_made_anew(tmp_path, damage):
    prepared = prepare(make_dataset(), tmp_path / "prepared")
    digest = prepared.digest
    (tmp_path / "prepared" / "index.json").write_text(damage)
    assert prepare(make_dataset(), tmp_path / "prepared").digest == digest


@pytest.mark.parametrize(
    "damage",
    [None, b"", lambda whole: whole[:-9], lambda whole: whole[:128] + bytes(len(whole) - 128)],
)
@pytest.mark.parametrize("part", ["image", "labels", "centres"])
def test_a_damaged_array_is_made_anew(tmp_path, part, damage):
    prepare(make_dataset(), tmp_path / "prepared")
    stem = Prepared(tmp_path / "prepared").index["cases"]["case2"]["file"]
    (path,) = (tmp_path / "prepared").glob(f"{stem}_{part}.*")
    whole = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(whole) if callable(damage) else damage)
    prepare(make_dataset(), tmp_path / "prepared")
    assert path.read_bytes() == whole


def test_what_is_there_can_be_made_anew(tmp_path, read_cases):
    for fresh in (False, False, True):
        prepare(make_dataset(), tmp_path / "prepared", fresh=fresh)
    assert len(read_cases) == 2 * 8


def test_the_centres_of_patches_are_part_of_the_digest(tmp_path, monkeypatch):
    prepare(make_dataset(), tmp_path / "many")
    monkeypatch.setattr(prepare_module, "MOST_CENTRES", 9)
    prepare(make_dataset(), tmp_path / "few")
    assert Prepared(tmp_path / "few").digest != Prepared(tmp_path / "many").digest


def test_what_is_not_ours_is_told_from_what_is(tmp_path):
    folder = tmp_path / "prepared"
    assert strange_files(folder) == []
    prepare(make_dataset(), folder)
    (folder / ".DS_Store").touch()
    (folder / "index.json").write_text("damaged")
    assert strange_files(folder) == []
    (folder / "notes.txt").touch()
    assert strange_files(folder) == [folder / "notes.txt"]
    for path in folder.glob("????????????????*"):
        path.unlink()
    (folder / "index.json").touch()
    assert folder / "index.json" in strange_files(folder)
    (tmp_path / "file").touch()
    assert strange_files(tmp_path / "file") == [tmp_path / "file"]


def test_an_interruption_leaves_what_was_there(tmp_path):
    prepared = prepare(make_dataset(), tmp_path / "prepared")
    before = json.loads((tmp_path / "prepared" / "index.json").read_text())

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(make_dataset(3), tmp_path / "prepared", stop)
    assert json.loads((tmp_path / "prepared" / "index.json").read_text()) == before
    assert prepared.load("case0").labels.shape == (48, 56)


def test_ct_is_scaled_by_the_training_cases_of_the_fold(tmp_path):
    """No fold sees what it tests: a case of its test part changes none of its numbers."""
    names = [f"case{number}" for number in range(5)]
    folds = tuple(
        Split(tuple(name for name in names if name != test), (), (test,)) for test in names[3:]
    )
    data = make_dataset(channels=("CT",), cases=5, validation=0, test=1, folds=folds)
    prepared = prepare(data, tmp_path / "prepared")
    cases = [make_case(number, 2) for number in range(5)]
    for fold, tested in enumerate((3, 4)):
        foreground = np.concatenate(
            [
                case.image[0][case.labels > 0]
                for number, case in enumerate(cases)
                if number != tested
            ]
        )
        low, high = np.percentile(foreground, (0.5, 99.5))
        # Samples of 5000 per case stand for its foreground, so the two agree but roughly.
        expected = (cases[4].image.clip(low, high) - foreground.mean()) / foreground.std()
        scaled = prepared.load_scaled("case4", fold).image
        np.testing.assert_allclose(scaled, expected, atol=0.15)
    np.testing.assert_allclose(prepared.load("case4").image, cases[4].image, atol=2e-3)

    def spoilt(source):
        return replace(source, load=lambda: replace(source.load(), image=source.load().image * 9))

    other = replace(data, cases=tuple(spoilt(c) if c.name == "case4" else c for c in data.cases))
    changed = {
        number: np.array(scaling["0"])
        for number, scaling in enumerate(prepare_without_origin(other, tmp_path).index["ct"])
    }
    np.testing.assert_array_equal(changed[1], prepared.index["ct"][1]["0"])  # it tests case4
    assert not np.array_equal(changed[0], prepared.index["ct"][0]["0"])


def prepare_without_origin(data, folder):
    """Of sources that cannot be pickled, as those in a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "origin", lambda self, source: source.name.ljust(16, "0"))
        return prepare(data, folder / "spoilt")
