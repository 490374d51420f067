"""Shares from volumes, against the formulas written out."""

import math

import pytest
import torch

from dilated_ce.shares import inverse_shares, root_shares


def test_inverse_shares_of_whole_data_sets_and_of_nothing():
    volumes = torch.tensor([[1.0, 1e15, 0.0], [1e-12, 3.0, 2.0]])
    expected = torch.tensor([[1.0, 1e-15, 0.0], [1e12, 1 / 3, 0.5]])
    torch.testing.assert_close(inverse_shares(volumes), expected)


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_root_shares_are_ratios_of_lengths(axes):
    volumes, sizes = torch.tensor([[512.0, 64.0, 0.0], [0.0, 8.0, 1.0]]), torch.tensor([512.0, 8.0])
    shares = root_shares(volumes, sizes, axes)
    for image, size in enumerate((512, 8)):
        for place, volume in enumerate(volumes[image].tolist()):
            wanted = math.pow(size / volume, 1 / max(axes, 1)) if volume else 0.0
            assert shares[image, place].item() == pytest.approx(wanted)


def test_an_image_without_a_valid_voxel_has_no_shares():
    assert root_shares(torch.zeros(1, 2), torch.zeros(1), 2).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_precision_is_that_of_the_volumes(dtype):
    volumes = torch.tensor([[3.0, 7.0]], dtype=dtype)
    assert inverse_shares(volumes).dtype == dtype
    assert root_shares(volumes, volumes.sum(1), 3).dtype == dtype
