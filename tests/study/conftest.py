"""A study so small that a run of it takes a second."""

import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture
def image_folder(tmp_path):
    """A function that writes `images/` and `masks/`: 6 cases of 40 x 36 pixels."""

    def write(root=tmp_path / "data", masks=(0, 255), suffix=".png", count=6):
        random = np.random.default_rng(0)
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture = random.integers(0, 256, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / "images" / f"case {index} é.png")
            mask = random.choice(np.array(masks, np.uint8), (36, 40))
            Image.fromarray(mask).save(root / "masks" / f"case {index} é{suffix}")
        return root

    return write
