import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import strategies
import torch
from hypothesis import given

from dilated_ce import dilate_labels, dilated_balanced_weights


@given(st.data())
def test_equals_the_formula(data):
    case = data.draw(strategies.label_maps())
    options = {
        "spacing": data.draw(strategies.spacings(case.labels.ndim - 1)),
        "overlap": data.draw(st.sampled_from(list(oracles.OVERLAPS))),
        "ignore_index": case.ignore_index,
    }
    scope = data.draw(st.sampled_from(["batch", "image", "given"]))
    if scope == "given":
        size = {"min_size": case.num_classes, "max_size": case.num_classes}
        options["volumes"] = data.draw(st.lists(st.integers(0, 1000), **size).filter(any))
    else:
        options["balance"] = scope
    radius = data.draw(strategies.radii())
    ours = dilated_balanced_weights(case.labels, radius, num_classes=case.num_classes, **options)
    reference = oracles.weights(case.labels, radius, case.num_classes, **options)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), reference, rtol=2e-5)


@given(case=strategies.label_maps(), radius=strategies.radii(), data=st.data())
def test_mean_is_one_over_the_valid_voxels_and_zero_elsewhere(case, radius, data):
    weights = dilated_balanced_weights(
        case.labels,
        radius,
        num_classes=case.num_classes,
        overlap=data.draw(st.sampled_from(list(oracles.OVERLAPS))),
        balance=data.draw(st.sampled_from(["batch", "image"])),
        ignore_index=case.ignore_index,
    )
    valid = torch.ones_like(case.labels, dtype=torch.bool)
    if case.ignore_index is not None:
        valid = case.labels != case.ignore_index
    assert torch.equal(weights[~valid], torch.zeros(int((~valid).sum())))
    if valid.any():
        assert weights[valid].mean().item() == pytest.approx(1, rel=1e-5)


def test_radius_zero_is_inverse_frequency():
    labels = torch.tensor([[0, 0, 0, 1]])
    weights = dilated_balanced_weights(labels, 0, num_classes=2)
    assert weights.tolist() == [[pytest.approx(2 / 3)] * 3 + [pytest.approx(2.0)]]


def test_minus_100_is_ignored_unless_told_otherwise():
    weights = dilated_balanced_weights(torch.tensor([[0, 0, -100, 1]]), 0, num_classes=2)
    assert weights.tolist() == [[0.75, 0.75, 0.0, 1.5]]
    for label in (-99, -101):
        with pytest.raises(ValueError, match=f"got label {label}"):
            dilated_balanced_weights(torch.tensor([[0, label]]), 0, num_classes=2)


@pytest.mark.parametrize("balance", ["batch", "image"])
@pytest.mark.parametrize("overlap", oracles.OVERLAPS)
def test_infinite_radius_is_one_everywhere(balance, overlap):
    labels = torch.randint(0, 3, (2, 12, 12), generator=torch.manual_seed(0))
    for radius in (math.inf, math.dist((0, 0), (11, 11))):
        weights = dilated_balanced_weights(
            labels, radius, num_classes=3, balance=balance, overlap=overlap
        )
        torch.testing.assert_close(weights, torch.ones(2, 12, 12))


def test_volumes_of_the_data_set():
    """Volumes summed over all batches give each batch the weights of the whole, up to scale."""
    images = torch.randint(0, 3, (6, 10, 10), generator=torch.manual_seed(0))
    volumes = sum(
        dilate_labels(batch, 1.5, num_classes=3).sum((0, 2, 3)) for batch in images.split(2)
    )
    whole = dilated_balanced_weights(images, 1.5, num_classes=3)
    for part, expected in zip(images.split(2), whole.split(2), strict=True):
        weights = dilated_balanced_weights(part, 1.5, num_classes=3, volumes=volumes)
        torch.testing.assert_close(weights, expected / expected.mean())


def test_a_class_with_volume_zero_takes_no_part():
    labels = torch.tensor([[0, 0, 1, 2]])
    weights = dilated_balanced_weights(labels, 0, num_classes=3, volumes=[4, 2, 0])
    assert weights.tolist() == [pytest.approx([1.0, 1.0, 2.0, 0.0])]


@pytest.mark.parametrize("num_classes", [9, 70, 300])
@pytest.mark.parametrize("overlap", oracles.OVERLAPS)
@pytest.mark.parametrize("balance", ["batch", "image"])
def test_many_classes(num_classes, overlap, balance):
    labels = torch.randint(0, num_classes, (3, 14, 15), generator=torch.manual_seed(0))
    options = {"overlap": overlap, "balance": balance}
    ours = dilated_balanced_weights(labels, 1.5, num_classes=num_classes, **options)
    reference = oracles.weights(labels, 1.5, num_classes, **options)
    np.testing.assert_allclose(ours, reference, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("balance", ["batch", "image"])
def test_empty_batch_and_one_voxel(shape, balance):
    labels = torch.zeros(shape, dtype=torch.long)
    weights = dilated_balanced_weights(labels, 1, num_classes=2, balance=balance)
    torch.testing.assert_close(weights, torch.ones(shape))


@pytest.mark.parametrize("overlap", oracles.OVERLAPS)
def test_all_ignored_gives_zeros(overlap):
    labels = torch.full((2, 4, 4), 255)
    weights = dilated_balanced_weights(labels, 1, num_classes=2, overlap=overlap, ignore_index=255)
    assert torch.equal(weights, torch.zeros(2, 4, 4))


def test_weights_are_float32_under_autocast():
    labels = torch.randint(0, 2, (1, 8, 8), generator=torch.manual_seed(0))
    expected = dilated_balanced_weights(labels, 1, num_classes=2)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype):
            weights = dilated_balanced_weights(labels, 1, num_classes=2)
        assert weights.dtype == torch.float32
        assert torch.equal(weights, expected)
