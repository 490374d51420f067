"""Settings shared by all tests."""

import gc
import os
import socket

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

# Runs go on in this process, where a test may look into them, unless it asks for more.
os.environ["LOKY_MAX_CPU_COUNT"] = "1"
# Small tensors are faster on one thread, and parallel test workers do not crowd each other.
torch.set_num_threads(1)

settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what the imports made."""
    gc.freeze()


@pytest.fixture
def free_port() -> int:
    """A TCP port on this machine that nothing listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


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
            mask = random.choice(np.array(masks, np.uint8), (9, 10)).repeat(4, 0).repeat(4, 1)
            Image.fromarray(mask).save(root / "masks" / f"case {index} é{suffix}", quality=95)
        return root

    return write
