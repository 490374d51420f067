"""The weight maps of both losses, against their formulas in double precision."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import strategies
import torch
from hypothesis import given
from losses import WEIGHTS

from dilated_ce import (
    adaptive_dilated_weights,
    dilate_labels,
    dilated_balanced_weights,
)


def volumes_of_a_data_set(draw, num_classes):
    """At least one class has a volume."""
    size = {"min_size": num_classes, "max_size": num_classes}
    return draw(st.lists(st.integers(0, 1000), **size).filter(any))


def class_weights(draw, num_classes):
    """How much each class counts, or None."""
    if draw(st.booleans()):
        return None
    numbers = st.floats(0.1, 10) | st.just(0.0)
    size = {"min_size": num_classes, "max_size": num_classes}
    return draw(st.lists(numbers, **size).filter(any))


@given(st.data())
def test_balanced_weights_are_the_formula(data):
    case = data.draw(strategies.label_maps())
    scope = data.draw(st.sampled_from([*oracles.SCOPES, "given"]))
    options = {
        "spacing": data.draw(strategies.spacings(case.labels.ndim - 1)),
        "ignore_index": case.ignore_index,
        "volumes": scope,
    }
    if scope == "given":
        options["volumes"] = volumes_of_a_data_set(data.draw, case.num_classes)
        least, most = max(options["volumes"]), sum(options["volumes"])
        options["num_voxels"] = data.draw(st.none() | st.integers(least, most))
    else:
        options["weight"] = class_weights(data.draw, case.num_classes)
    radius = data.draw(strategies.radii())
    ours = dilated_balanced_weights(case.labels, radius, num_classes=case.num_classes, **options)
    reference = oracles.balanced_weights(case.labels, radius, case.num_classes, **options)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), reference, rtol=2e-5)


@given(st.data())
def test_adaptive_weights_are_the_formula(data):
    case = data.draw(strategies.label_maps())
    options = {
        # Lengths that no rung is next to, in half-way steps of single precision.
        "spacing": data.draw(st.sampled_from([None, (1.0, 0.7, 2.0), (3.0, 1.0, 1.0)])),
        "ignore_index": case.ignore_index,
        "weight": class_weights(data.draw, case.num_classes),
    }
    if options["spacing"] is not None:
        options["spacing"] = options["spacing"][: case.labels.ndim - 1]
    ours = adaptive_dilated_weights(case.labels, num_classes=case.num_classes, **options)
    reference = oracles.adaptive_weights(case.labels, case.num_classes, **options)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), reference, rtol=2e-5)


@given(case=strategies.label_maps(), radius=strategies.radii(), data=st.data())
def test_mean_is_one_over_the_valid_voxels_and_zero_elsewhere(case, radius, data):
    options = {"num_classes": case.num_classes, "ignore_index": case.ignore_index}
    if data.draw(st.booleans()):
        weights = adaptive_dilated_weights(case.labels, **options)
    else:
        scope = data.draw(st.sampled_from(oracles.SCOPES))
        weights = dilated_balanced_weights(case.labels, radius, volumes=scope, **options)
    valid = torch.from_numpy(oracles.valid_voxels(case.labels.numpy(), case.ignore_index))
    assert torch.equal(weights[~valid], torch.zeros(int((~valid).sum())))
    if valid.any():
        assert weights[valid].mean().item() == pytest.approx(1, rel=1e-5)


@given(case=strategies.label_maps(), seed=st.integers(0, 1000), data=st.data())
def test_symmetries_of_the_adaptive_weights(case, seed, data):
    """No class is special, nor an axis or a direction or a place in the batch."""
    labels = case.labels
    if case.ignore_index is not None:  # away from the classes, which are permuted below
        labels = torch.where(labels == case.ignore_index, 255, labels)

    def weigh(labels, num_classes=case.num_classes):
        return adaptive_dilated_weights(labels, num_classes=num_classes, ignore_index=255)

    expected = weigh(labels)
    classes = torch.randperm(case.num_classes, generator=torch.manual_seed(seed))
    renamed = torch.where(labels == 255, 255, classes[labels.clamp(max=len(classes) - 1)])
    torch.testing.assert_close(weigh(renamed), expected)
    torch.testing.assert_close(weigh(labels, case.num_classes + 3), expected)  # absent classes
    order = torch.randperm(len(labels), generator=torch.manual_seed(seed))
    torch.testing.assert_close(weigh(labels[order]), expected[order])
    axis = data.draw(st.integers(1, labels.ndim - 1))
    torch.testing.assert_close(weigh(labels.flip(axis)).flip(axis), expected)
    turned = weigh(labels.transpose(1, axis)).transpose(1, axis)
    torch.testing.assert_close(turned, expected)
    if labels.ndim > 2:
        turned = weigh(labels.rot90(1, (-2, -1))).rot90(-1, (-2, -1))
        torch.testing.assert_close(turned, expected)


def test_adaptive_weights_are_those_of_each_image():
    labels = torch.randint(0, 3, (4, 12, 11), generator=torch.manual_seed(0))
    labels[1:] = torch.where(labels[1:] == 2, 0, labels[1:])
    labels[2:, :8] = 1
    labels[3, 4:] = -100
    weights = adaptive_dilated_weights(labels, num_classes=3)
    for image, own in zip(labels, weights, strict=True):
        alone = adaptive_dilated_weights(image[None], num_classes=3)[0]
        torch.testing.assert_close(own, alone)


def test_a_voxel_weighs_by_the_smallest_neighbourhood_that_holds_it():
    """Three classes that touch: the largest share, and not their sum."""
    labels = torch.zeros(1, 30, 30, dtype=torch.long)
    labels[0, 10:13, 10:13] = 1
    labels[0, 13:17, 10:13] = 2
    masks = dilate_labels(labels, [8, 2, 2], num_classes=3)[0]
    shares = [(900 / int(mask.sum())) ** 0.5 for mask in masks]
    assert shares[1] > shares[2] > shares[0] == 1
    expected = torch.ones(30, 30)
    expected[masks[2]] = shares[2]
    expected[masks[1]] = shares[1]
    weights = adaptive_dilated_weights(labels, num_classes=3)[0]
    torch.testing.assert_close(weights, 0.5 + 0.5 * expected / expected.mean())


def test_half_of_the_adaptive_weights_are_plain():
    """No voxel weighs less than half; an image without a class that has a weight is plain."""
    labels = torch.zeros(2, 3, 30, 30, dtype=torch.long)
    labels[0, 0, 10:13, 10:13] = 1
    weights = adaptive_dilated_weights(labels[0], num_classes=2)
    torch.testing.assert_close(weights.mean((1, 2)), torch.ones(3))
    torch.testing.assert_close(weights[1:], torch.ones(2, 30, 30))
    assert 0.5 < weights[0].min() < 1 < weights[0].max()
    labels[0, 1] = labels[0, 2] = 1
    weights = adaptive_dilated_weights(labels[0], num_classes=2, weight=[1.0, 0.0])
    torch.testing.assert_close(weights.mean((1, 2)), torch.ones(3))
    torch.testing.assert_close(weights[1:], torch.ones(2, 30, 30))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_the_default_dtype_changes_nothing(weigh, dtype):
    """As `torch.set_default_dtype` sets it: sizes of images overflow in half precision."""
    labels = torch.zeros(2, 300, 300, dtype=torch.long)
    labels[0, 10:40, 20:60], labels[1, 100:, 3:7] = 1, 2
    expected = weigh(labels, num_classes=3)
    torch.set_default_dtype(dtype)
    try:
        torch.testing.assert_close(weigh(labels, num_classes=3), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_slice_is_the_same_in_2d_and_as_a_volume():
    labels = (torch.arange(32 * 30).view(1, 32, 30) % 90 < 13).long()
    flat = adaptive_dilated_weights(labels, num_classes=2)
    for axis in (1, 2, 3):
        volume = adaptive_dilated_weights(labels.unsqueeze(axis), num_classes=2)
        torch.testing.assert_close(volume.squeeze(axis), flat)


def test_a_class_alone_is_one_everywhere():
    for label in (0, 2):
        weights = adaptive_dilated_weights(torch.full((2, 9, 9), label), num_classes=3)
        torch.testing.assert_close(weights, torch.ones(2, 9, 9))


@pytest.mark.parametrize("factor", [1e-9, 0.3, 3.7, 1e9])
def test_adaptive_weights_know_no_unit_of_length(factor):
    labels = (torch.rand(2, 24, 40, generator=torch.manual_seed(0)) < 0.05).long()
    spacing = (1.5, 0.8)
    scaled = tuple(factor * size for size in spacing)
    ours = adaptive_dilated_weights(labels, num_classes=2, spacing=scaled)
    torch.testing.assert_close(
        ours, adaptive_dilated_weights(labels, num_classes=2, spacing=spacing)
    )


def test_radius_zero_is_inverse_frequency():
    labels = torch.tensor([[0, 0, 0, 1]])
    weights = dilated_balanced_weights(labels, 0, num_classes=2)
    assert weights.tolist() == [[pytest.approx(2 / 3)] * 3 + [pytest.approx(2.0)]]


def test_minus_100_is_ignored_unless_told_otherwise():
    weights = dilated_balanced_weights(torch.tensor([[0, 0, -100, 1]]), 0, num_classes=2)
    assert weights.tolist() == [[0.75, 0.75, 0.0, 1.5]]
    assert adaptive_dilated_weights(torch.tensor([[0, 0, -100, 1]]), num_classes=2)[0, 2] == 0
    for label in (-99, -101):
        with pytest.raises(ValueError, match=f"got label {label}"):
            dilated_balanced_weights(torch.tensor([[0, label]]), 0, num_classes=2)
        with pytest.raises(ValueError, match=f"got label {label}"):
            adaptive_dilated_weights(torch.tensor([[0, label]]), num_classes=2)


@pytest.mark.parametrize("volumes", oracles.SCOPES)
def test_infinite_radius_is_one_everywhere(volumes):
    labels = torch.randint(0, 3, (2, 12, 12), generator=torch.manual_seed(0))
    for radius in (math.inf, math.dist((0, 0), (11, 11))):
        weights = dilated_balanced_weights(labels, radius, num_classes=3, volumes=volumes)
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
def test_many_classes(num_classes):
    labels = torch.randint(0, num_classes, (3, 14, 15), generator=torch.manual_seed(0))
    for scope in oracles.SCOPES:
        ours = dilated_balanced_weights(labels, 1.5, num_classes=num_classes, volumes=scope)
        reference = oracles.balanced_weights(labels, 1.5, num_classes, volumes=scope)
        np.testing.assert_allclose(ours, reference, rtol=1e-5)
    ours = adaptive_dilated_weights(labels, num_classes=num_classes)
    np.testing.assert_allclose(ours, oracles.adaptive_weights(labels, num_classes), rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0), (1, 0), (1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("num_classes", [2, 9])
@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_empty_batch_and_one_voxel(shape, num_classes, weigh):
    labels = torch.zeros(shape, dtype=torch.long)
    torch.testing.assert_close(weigh(labels, num_classes=num_classes), torch.ones(shape))


@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_all_ignored_gives_zeros(weigh):
    labels = torch.full((2, 4, 4), 255)
    weights = weigh(labels, num_classes=2, ignore_index=255)
    assert torch.equal(weights, torch.zeros(2, 4, 4))


@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_an_image_without_a_valid_voxel_is_as_if_it_were_not_there(weigh):
    labels = torch.randint(0, 2, (3, 8, 8), generator=torch.manual_seed(0))
    labels[1] = -100
    weights = weigh(labels, num_classes=2)
    assert (weights[1] == 0).all()
    torch.testing.assert_close(weights[[0, 2]], weigh(labels[[0, 2]], num_classes=2))


@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_are_float32_under_autocast(weigh):
    labels = torch.randint(0, 2, (1, 8, 8), generator=torch.manual_seed(0))
    expected = weigh(labels, num_classes=2)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype):
            weights = weigh(labels, num_classes=2)
        assert weights.dtype == torch.float32
        assert torch.equal(weights, expected)


@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_inputs_are_left_as_they_were(weigh):
    labels = torch.randint(0, 3, (2, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    labels[0, :2] = 255
    weight = torch.tensor([1.0, 2.0, 3.0])
    before = labels.clone(), weight.clone()
    weigh(labels, num_classes=3, ignore_index=255, weight=weight)
    assert torch.equal(labels, before[0])
    assert torch.equal(weight, before[1])


@pytest.mark.parametrize(("weight", "shares"), [(None, 2.0), ([1.0, 2.0, 5.0], 3.0)])
def test_a_class_that_the_data_set_lacks_is_not_counted(weight, shares):
    """Its weight is in no voxel, so it must not make the others smaller."""
    labels = torch.tensor([[0, 0, 1, 1, 1]])
    found = dilated_balanced_weights(
        labels, 0, num_classes=3, volumes=torch.tensor([12.0, 8.0, 0.0]), num_voxels=20,
        weight=weight,
    )  # fmt: skip
    own = weight or [1.0, 1.0, 1.0]
    first, second = (20 / shares * own[c] / v for c, v in enumerate((12, 8)))
    torch.testing.assert_close(found[0], torch.tensor([first] * 2 + [second] * 3))
