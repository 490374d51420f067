"""The radius that the adaptive rule finds for each mask."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import strategies
import torch
from hypothesis import given

from dilated_ce import adaptive_dilated_weights
from dilated_ce.dilation import dilate_masks
from dilated_ce.masks import Masks, unpack
from dilated_ce.radius import LEAST, MOST, choose_radii, ladder
from dilated_ce.target import without_ignored


def radii_of(labels, num_classes, spacing=None, ignore_index=None):
    """The radius of each mask, (B, C)."""
    spacing = spacing or (1.0,) * (labels.ndim - 1)
    valid = None if ignore_index is None else labels != ignore_index
    masks = Masks.of(without_ignored(labels, valid), valid, num_classes)
    rungs, larger = choose_radii(masks, spacing)
    assert larger.dtype == torch.bool
    assert larger.shape == (len(rungs) - 1, len(labels), num_classes)
    assert (larger[1:] <= larger[:-1]).all()  # what is larger than one is larger than those before
    return torch.tensor(rungs, dtype=torch.float64)[larger.sum(0)]


def ball(shape, radius, centre=None):
    axes = np.indices(shape)
    centre = [side / 2 for side in shape] if centre is None else centre
    squares = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True))
    return torch.from_numpy((squares <= radius**2).astype(np.int64))


@given(st.data())
def test_radii_are_those_of_the_definition(data):
    case = data.draw(strategies.label_maps())
    # A finest voxel of another size only moves the rungs that radii are rounded to.
    spacing = data.draw(st.sampled_from([1.0, 0.7, 3.0])), 1.0, 2.0
    spacing = spacing[: case.labels.ndim - 1]
    ours = radii_of(case.labels, case.num_classes, spacing, case.ignore_index)
    reference = oracles.adaptive_radii(case.labels, case.num_classes, spacing, case.ignore_index)
    present = oracles.volumes_of(
        oracles.dilated_masks(case.labels, 0, case.num_classes, ignore_index=case.ignore_index)
    )
    np.testing.assert_allclose(np.where(present, ours, 0), np.where(present, reference, 0))


@given(st.data())
def test_masks_are_those_of_the_definition(data):
    case = data.draw(strategies.label_maps())
    spacing = data.draw(strategies.spacings(case.labels.ndim - 1)) or (1.0, 1.0, 1.0)
    spacing = spacing[: case.labels.ndim - 1]
    arguments = ("labels", case.labels, case.num_classes, None, spacing, case.ignore_index)
    planes, volumes, sizes = dilate_masks(*arguments)
    ours = unpack(planes, len(case.labels), case.num_classes, case.labels.shape[1:])
    radii = radii_of(case.labels, case.num_classes, spacing, case.ignore_index)
    reference = oracles.dilated_masks(
        case.labels, radii, case.num_classes, spacing, case.ignore_index
    )
    np.testing.assert_array_equal(ours.numpy(), reference)
    np.testing.assert_array_equal(volumes.numpy(), oracles.volumes_of(reference))
    valid = oracles.valid_voxels(case.labels.numpy(), case.ignore_index)
    assert sizes.tolist() == valid.reshape(len(valid), -1).sum(1).tolist()


def test_the_ladder_is_bounded_and_each_rung_is_a_root_of_two_more():
    np.testing.assert_allclose(ladder(1.0), oracles.RUNGS)
    np.testing.assert_allclose(ladder(0.5), 0.5 * np.array(oracles.RUNGS))
    assert (ladder(1.0)[0], ladder(1.0)[-1]) == (LEAST, MOST) == (2, 8)


def test_an_objects_radius_is_of_its_size():
    # d |M| / |dM|, with the faces of voxels for the surface: 0.79 r for a disc, 0.67 r for a ball.
    disc = radii_of(ball((128, 128), 7)[None], 2)
    assert disc.tolist() == [[8, pytest.approx(4 * math.sqrt(2))]]
    sphere = radii_of(ball((48, 48, 48), 9)[None], 2)
    assert sphere.tolist() == [[8, pytest.approx(4 * math.sqrt(2))]]
    for width, radius in ((1, 2), (2, 2), (4, 4), (8, 8), (20, 8)):
        band = torch.zeros(1, 64, 64, dtype=torch.long)
        band[:, :, 30 : 30 + width] = 1  # from border to border: twice the half-width
        assert radii_of(band, 2)[0, 1] == pytest.approx(radius)


def rectangles(volume, surface):
    """A 1D signal of runs of class 1: so many voxels, and so many ends within the signal."""
    runs = [1] * (surface // 2 - 1)
    runs.append(volume - sum(runs))
    return torch.cat([torch.tensor([0], dtype=torch.long)]
                     + [torch.tensor([1] * size + [0]) for size in runs])[None]  # fmt: skip


@pytest.mark.parametrize("step", [0.5, 1.5, 2.5, 3.5])
def test_the_next_radius_begins_half_way_on_the_scale_of_logarithms(step):
    """Volumes over surfaces next to where the rounding changes, on either side."""
    surface = 200
    threshold = 2 * 2 ** (step / 2) * surface
    for volume in (math.floor(threshold), math.ceil(threshold)):
        labels = rectangles(volume, surface)
        assert radii_of(labels, 2)[0, 1] == pytest.approx(oracles.adaptive_radii(labels, 2)[0, 1])
    below, above = (
        radii_of(rectangles(volume, surface), 2)[0, 1].item()
        for volume in (math.floor(threshold), math.ceil(threshold))
    )
    assert above / below == pytest.approx(math.sqrt(2))


def test_the_border_of_the_image_and_what_is_ignored_are_no_surface():
    labels = torch.zeros(1, 12, 12, dtype=torch.long)
    labels[0, :, :3] = 1  # 36 voxels, 12 faces
    assert radii_of(labels, 2)[0, 1] == pytest.approx(4 * math.sqrt(2))
    apart = labels.clone()
    apart[0, :, 3] = 9  # nothing is known of where the class ends
    assert radii_of(apart, 2, ignore_index=9)[0].tolist() == [8, 8]


def test_every_class_has_its_own_and_none_is_special():
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    labels[0, :, :20] = 1
    labels[0, 2:6, 4:8] = 2
    labels[0, 20:22, 4:6] = 3
    radii = radii_of(labels, 4)
    np.testing.assert_allclose(radii, oracles.adaptive_radii(labels, 4))
    order = torch.tensor([3, 0, 2, 1])
    assert torch.equal(radii_of(order[labels], 4)[:, order], radii)


def test_small_objects_have_a_neighbourhood_too():
    labels = torch.zeros(1, 9, 9, dtype=torch.long)
    labels[0, 4, 4] = 1
    assert radii_of(labels, 2, (0.5, 1.5))[0, 1] == 1.0  # of 2 finest voxels


def test_each_image_has_its_own():
    small, large = ball((64, 64), 3), ball((64, 64), 20)
    both = radii_of(torch.stack([small, large]), 2)
    assert both.tolist() == [radii_of(small[None], 2)[0].tolist(),
                             radii_of(large[None], 2)[0].tolist()]  # fmt: skip
    assert both[0, 1] < both[1, 1]


@pytest.mark.parametrize("factor", [0.3, 3.7])
def test_a_length_has_no_unit(factor):
    labels = torch.stack([ball((24, 40), r, (10, 20)) for r in (3, 6, 9)])
    spacing = (1.5, 0.8)
    scaled = tuple(factor * size for size in spacing)
    torch.testing.assert_close(radii_of(labels, 2, scaled), factor * radii_of(labels, 2, spacing))


def test_a_radius_holds_the_voxels_exactly_at_it():
    """2 sqrt 2 voxels: (2, 2) is at that distance."""
    labels = ball((32, 32), 4)[None]
    assert radii_of(labels, 2)[0, 1].item() == math.sqrt(8)
    planes, _, _ = dilate_masks("labels", labels, 2, None, (1.0, 1.0), None)
    np.testing.assert_array_equal(
        unpack(planes, 1, 2, (32, 32))[:, 1],
        oracles.dilated_masks(labels, (8.0, math.sqrt(8)), 2)[:, 1],
    )


@pytest.mark.parametrize("thin", [0.25, 1.0, 5.0])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_the_thickness_of_a_single_slice_does_not_matter(axis, thin):
    """A volume of one slice is the slice."""
    labels = torch.zeros(1, 30, 40, dtype=torch.long)
    labels[0, 8:20, 5:30] = 1
    spacing = [1.0, 0.8]
    expected = adaptive_dilated_weights(labels, num_classes=2, spacing=spacing)
    spacing.insert(axis - 1, thin)
    volume = labels.unsqueeze(axis)
    found = adaptive_dilated_weights(volume, num_classes=2, spacing=spacing)
    torch.testing.assert_close(found.squeeze(axis), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_default_dtype_changes_nothing(dtype):
    """19 voxels and 16 faces: 2 * 19 / 16 is 2.375, below the step at 2^1.25 = 2.378 to 2.83.

    In bfloat16 that step would be 2.375.
    """
    labels = torch.zeros(1, 6, 15, dtype=torch.long)
    labels[0, 0] = 1
    labels[0, 1, :4] = 1
    torch.set_default_dtype(dtype)
    try:
        found = radii_of(labels, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found[0, 1] == 2
