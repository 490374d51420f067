import pytest
import torch
from pydantic import ValidationError

from dilated_ce.study.config import StudyConfig, TrainingConfig


def test_losses_are_kept_in_their_canonical_form(tmp_path):
    config = StudyConfig(losses=("dbce:balance=image,radius=2.0",), out=tmp_path)
    assert list(map(str, config.losses)) == ["dbce:radius=2,balance=image"]
    written = config.model_dump(mode="json")
    assert written["losses"] == ["dbce:radius=2,balance=image"]
    assert StudyConfig(**written) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"losses": ()}, "losses"),
        ({"losses": ("dbce:radius=2", "dbce:radius=2.0")}, "dbce:radius=2 is given twice"),
        ({"losses": ("focal",)}, "unknown loss 'focal'"),
        ({"losses": ("ce",), "seeds": 0}, "seeds"),
        ({"losses": ("ce",), "sedes": 2}, "sedes"),
        ({"losses": ("ce",), "training": {"steps": 0}}, "steps"),
        ({"losses": ("ce",), "training": {"patch_size": 100}}, "expected a multiple of 8"),
        ({"losses": ("ce",), "training": {"device": "tpu"}}, "'auto', 'cpu' or 'gpu'"),
    ],
)
def test_wrong_values_are_named(values, message, tmp_path):
    with pytest.raises(ValidationError) as error:
        StudyConfig(out=tmp_path, **values)
    assert message in str(error.value)


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU"
)
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValidationError, match="PyTorch sees no GPU here; expected auto or cpu"):
        TrainingConfig(device="gpu")
