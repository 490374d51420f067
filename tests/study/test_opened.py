"""From the settings to prepared cases: each is read once, also where its size decides the split."""

import numpy as np
import pytest
from PIL import Image

from dilated_ce.study.api import Listener, open_configured, opened
from dilated_ce.study.data import prepare as prepare_module
from dilated_ce.study.data.reading import DataConfig, open_data
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.settings.compare import CompareConfig, SettingsError


@pytest.fixture
def data(tmp_path):
    """Twelve images that nobody has split."""
    random = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((20, 20), np.uint8)
        mask[2 : 3 + number, 3:9] = 255
        image = (mask // 2 + random.integers(0, 60, mask.shape)).astype(np.uint8)
        for kind, values in {"images": image, "masks": mask}.items():
            path = tmp_path / "shapes" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return tmp_path / "shapes"


@pytest.fixture
def read(monkeypatch):
    """The names of the cases that are read and looked at."""
    names = []
    look_at = prepare_module.look_at

    def look(case, expected):
        names.append(case.name)
        return look_at(case, expected)

    monkeypatch.setattr(prepare_module, "look_at", look)
    return names


def config_of(data, tmp_path, losses=("ce",)):
    return CompareConfig(data={"path": data}, losses=list(losses), out=tmp_path / "study")


def test_every_case_is_read_once_and_not_again(data, read, tmp_path):
    config = config_of(data, tmp_path)
    with opened(config, open_configured, Listener()) as (first, prepared):
        assert sorted(read) == sorted(map(str, range(12)))
        assert set(prepared.index["cases"]) == set(read)
    read.clear()
    with opened(config, open_configured, Listener()) as (second, again):
        assert read == []
    assert first.folds == second.folds == open_data(DataConfig(path=data)).folds
    assert again.digest == prepared.digest
    assert "stratified by classes and size" in first.split

    with opened(config, open_configured, Listener(), fresh=True):
        assert sorted(read) == sorted(map(str, range(12)))  # anew, and once


def test_what_is_wrong_is_said_before_any_case_is_read(data, read, tmp_path):
    wrong = config_of(data, tmp_path, losses=("ce:weight=1:2:3",))
    with (
        pytest.raises(SettingsError, match="weight"),
        opened(wrong, open_configured, Listener()),
    ):
        pass
    (tmp_path / "study" / "prepared").mkdir(parents=True)
    (tmp_path / "study" / "prepared" / "notes.txt").write_text("mine")
    with (
        pytest.raises(StudyError, match="not of a study"),
        opened(config_of(data, tmp_path), open_configured, Listener()),
    ):
        pass
    assert read == []
    assert (tmp_path / "study" / "prepared" / "notes.txt").read_text() == "mine"
