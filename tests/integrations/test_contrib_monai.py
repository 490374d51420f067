"""The loss that could be proposed to MONAI is ours, to the last digit."""

import doctest
import itertools
import math
from pathlib import Path

import dilated_balanced_ce_loss
import monai.losses
import pytest
import torch
from dilated_balanced_ce_loss import DilatedBalancedCELoss as Proposed

from dilated_ce import DilatedBalancedCELoss

FOLDER = Path(__file__).parents[2] / "contrib" / "monai"
IGNORED = 255
LAYOUTS = {  # shape, spacing
    "line": ((3, 4, 33), None),
    "image": ((2, 3, 31, 40), None),
    "anisotropic image": ((2, 2, 31, 40), (0.7, 1.3)),
    "volume": ((2, 4, 9, 15, 14), (2.5, 0.8, 0.8)),
}
RADII = (0, 1.7, math.sqrt(13), 7.2, math.inf)


def random_batch(shape, dtype, seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, dtype=dtype, generator=random)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=random)
    labels[torch.rand(labels.shape, generator=random) < 0.9] = 0
    labels[torch.rand(labels.shape, generator=random) < 0.1] = IGNORED
    return logits, labels


def both(logits, labels, radius, spacing, **options):
    """The losses and the gradients of both."""
    found = []
    proposed = Proposed(radius, 1.0 if spacing is None else spacing, **options)
    ours = DilatedBalancedCELoss(radius, spacing=spacing, **options)
    for loss, target in ((proposed, labels[:, None]), (ours, labels)):
        x = logits.clone().requires_grad_()
        value = loss(x, target)
        value.sum().backward()
        found += [value.detach(), x.grad]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_up_to_four_classes_it_is_equal(layout, reduction, dtype):
    shape, spacing = LAYOUTS[layout]
    logits, labels = random_batch(shape, dtype)
    weights = (None, torch.arange(1.0, 1 + shape[1]))
    for radius, weight in itertools.product(RADII, weights):
        value, gradient, expected, of_ours = both(
            logits,
            labels,
            radius,
            spacing,
            reduction=reduction,
            weight=weight,
            ignore_index=IGNORED,
        )
        value = value[:, 0] if reduction == "none" else value  # MONAI keeps the channel axis
        assert torch.equal(value, expected)
        # Ours comes from a formula of its own: a few units in the last place of the largest.
        bound = 4 * torch.finfo(dtype).eps * of_ours.abs().max()
        assert (gradient - of_ours).abs().max() <= bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_more_classes_it_is_equal_up_to_the_order_of_their_sum(dtype):
    logits, labels = random_batch((2, 10, 30, 30), dtype)
    for radius in RADII:
        value, gradient, expected, of_ours = both(
            logits, labels, radius, None, ignore_index=IGNORED
        )
        assert torch.allclose(value, expected, rtol=4 * torch.finfo(dtype).eps, atol=0)
        bound = 8 * torch.finfo(dtype).eps * of_ours.abs().max()
        assert (gradient - of_ours).abs().max() <= bound


def test_its_example_runs(monkeypatch):
    monkeypatch.setattr(monai.losses, "DilatedBalancedCELoss", Proposed, raising=False)
    ran = doctest.testmod(dilated_balanced_ce_loss)
    assert (ran.failed, ran.attempted) == (0, 5)


def test_the_page_names_every_file():
    text = (FOLDER / "README.md").read_text()
    for path in FOLDER.glob("[a-z]*"):
        assert f"`{path.name}`" in text or path.name in ("README.md", "__pycache__")


def test_the_file_is_about_as_long_as_its_neighbours_and_of_monai_s_width():
    lines = (FOLDER / "dilated_balanced_ce_loss.py").read_text().splitlines()
    assert len(lines) <= 230
    assert max(map(len, lines)) <= 120
    assert lines[0] == "# Copyright (c) MONAI Consortium"
