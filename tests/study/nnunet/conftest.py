import pytest
from fake_nnunet import write_command, write_workplace

from dilated_ce.study.nnunet import unit


@pytest.fixture
def workplace(monkeypatch, tmp_path):
    """nnU-Net's folder of a tiny data set, and a stand-in for its training."""
    for name in ("nnUNet_raw", "nnUNet_results", "nnUNet_extTrainer"):
        monkeypatch.delenv(name, raising=False)
    preprocessed = tmp_path / "preprocessed"
    monkeypatch.setenv("nnUNet_preprocessed", str(preprocessed))
    trains = write_command(tmp_path)
    monkeypatch.setattr(unit, "command", lambda name: str(trains))
    return write_workplace(preprocessed)
