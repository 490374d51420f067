"""The rules for the radius that were tried beside the automatic one."""

import numpy as np
import pytest
import radius_rules
import torch

from dilated_ce import dilated_balanced_cross_entropy


@pytest.fixture(scope="module")
def batch():
    labels = torch.zeros(3, 1, 32, 32, dtype=torch.long)
    labels[0, 0, :, 8:12] = 1  # a band, whose automatic radius is its width
    labels[0, 0, 20:24] = 2
    labels[1, 0, :, 4:12] = 1
    return torch.randn(3, 3, 32, 32, generator=torch.manual_seed(0)), labels


@pytest.mark.parametrize("shares", ["equal", "half", "root"])
@pytest.mark.parametrize("rule", ["depth", "growth", "size", "ladder", "follow", "anneal"])
def test_every_rule_gives_weights_of_mean_1(batch, rule, shares):
    logits, labels = batch
    loss = radius_rules.RuleLoss(rule, factor=2, shares=shares)
    weights = loss.weigh(labels[:, 0].numpy(), 3, logits.argmax(1).numpy())
    assert weights.mean() == pytest.approx(1)
    assert (weights > 0).all()
    assert len(np.unique(weights[0])) > 1 or rule == "anneal"
    assert loss(logits, labels).isfinite()


def test_size_and_root_are_the_automatic_radius(batch):
    logits, labels = batch
    labels = labels.clone()
    labels[0, 0, 20:24] = 0  # the radius of bands that cross is rounded by "auto"
    labels[0, 0, 20:24, 8:12] = 1
    ours = dilated_balanced_cross_entropy(logits, labels)
    torch.testing.assert_close(radius_rules.RuleLoss("size")(logits, labels), ours)


def test_equal_shares_are_half_for_two_classes(batch):
    logits, labels = batch
    labels = labels.clamp(max=1)
    equal, half = (radius_rules.RuleLoss("size", shares=shares) for shares in ("equal", "half"))
    single = labels[:1]
    torch.testing.assert_close(half(logits[:1], single), equal(logits[:1], single))
