"""Settings shared by all tests."""

import os
import socket

import pytest
import torch
from hypothesis import settings

# Small tensors are faster on one thread, and parallel test workers do not crowd each other.
torch.set_num_threads(1)

settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def free_port() -> int:
    """A TCP port on this machine that nothing listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
