"""A study so small that a run of it takes a second."""

import pytest

from dilated_ce.study.config import StudyConfig, TrainingConfig
from dilated_ce.study.data import make_synthetic

TINY = TrainingConfig(
    steps=3, batch_size=2, patch_size=32, channels=(4, 8), evaluations=1, device="cpu"
)


@pytest.fixture
def tiny_data():
    return make_synthetic(num_cases=4, size=48)


@pytest.fixture
def tiny_config(tmp_path):
    losses = ("ce", "dbce:radius=2", "dbce-dice:radius=1")
    return StudyConfig(losses=losses, seeds=2, training=TINY, out=tmp_path / "out")
