import pytest
import torch

from dilated_ce.study.training.networks import build_network
from dilated_ce.study.training.settings import TrainingConfig


@pytest.mark.parametrize("network", ["unet", "dynunet", "segresnet"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_network_takes_images_to_logits(network, norm, dims):
    config = TrainingConfig(network=network, norm=norm, channels=(8, 16, 32))
    built = build_network(config, dims, 3, 4)
    logits = built(torch.randn(2, 3, *[16] * dims))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 4, *[16] * dims)
    logits.sum().backward()
    assert all(part.grad is not None for part in built.parameters())


def test_a_seed_is_a_network():
    def weights(seed):
        torch.manual_seed(seed)
        built = build_network(TrainingConfig(channels=(4, 8)), 2, 1, 2)
        return torch.cat([part.flatten() for part in built.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
