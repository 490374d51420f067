"""Balls as discs and rows, against scipy's distance transform of a single voxel."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from hypothesis import given
from scipy import ndimage

from dilated_ce.ball import discs, norm


def by_scipy(radius, spacing, shape):
    """The octant of the ball with offsets >= 0."""
    origin = np.ones(shape, bool)
    origin[0, 0, 0] = False
    return ndimage.distance_transform_edt(origin, sampling=spacing) <= radius


def put_together(found, balls, shape):
    """The octants of all balls, from the discs as their description says.

    Each has the slices of the balls before it, too, and a slice is new once.
    """
    octants = np.zeros((balls, *shape), bool)
    disc = np.zeros(shape[1:], bool)
    for from_nothing, rows, slices in found:
        if from_nothing:
            disc[:] = False
        for dy, half in rows:
            disc[dy, : half + 1] = True
        for ball, first, last, new in slices:
            assert new == (not octants[:, first : last + 1].any())
            octants[ball:, first : last + 1] |= disc
    return octants


@given(
    radii=st.lists(strategies.radii(), min_size=1, max_size=5, unique=True),
    spacing=strategies.spacings(3),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 9)),
)
def test_balls_are_put_together_from_discs(radii, spacing, shape):
    spacing = spacing or (1.0, 1.0, 1.0)
    radii = sorted(radii)
    found = discs(tuple(radii), spacing, shape)
    octants = put_together(found, len(radii), shape)
    for octant, radius in zip(octants, radii, strict=True):
        np.testing.assert_array_equal(octant, by_scipy(radius, spacing, shape))


@given(radius=strategies.radii(), spacing=strategies.spacings(3))
def test_no_row_is_longer_than_needed_or_brought_twice(radius, spacing):
    spacing, shape = spacing or (1.0, 1.0, 1.0), (4, 5, 6)
    before = np.zeros(shape[1:], bool)
    for from_nothing, rows, _ in discs((radius,), spacing, shape):
        if from_nothing:
            before[:] = False
        for dy, half in rows:
            assert not before[dy, half]  # the row grows
            before[dy, : half + 1] = True


@pytest.mark.parametrize("radius", [2, 2 * math.sqrt(2), 5, 8, 10.5])
def test_nested_slices_start_from_nothing_once(radius):
    shape = (30, 30, 30)
    found = discs((radius, 2.0 * radius), (1.0, 1.0, 1.0), shape)
    assert [disc.from_nothing for disc in found] == [False] * len(found)
    # One slice of the ball for each dz, and none twice.
    slices = [
        (ball, dz)
        for disc in found
        for ball, first, last, _ in disc.slices
        for dz in range(first, last + 1)
    ]
    assert sorted(slices) == [
        (ball, dz) for ball, r in enumerate((radius, 2 * radius)) for dz in range(int(r) + 1)
    ]


def test_neighbouring_slices_that_are_one_disc_come_together():
    """As the rows of an image do, which are slices of a height of 1."""
    found = discs((2.0, 4.0), (1.0, 1.0, 1.0), (9, 1, 9))
    slices = {disc.rows: [tuple(place) for place in disc.slices] for disc in found}
    assert slices == {
        ((0, 0),): [(0, 2, 2, True), (1, 4, 4, True)],
        ((0, 1),): [(0, 1, 1, True)],
        ((0, 2),): [(0, 0, 0, True), (1, 3, 3, True)],
        ((0, 3),): [(1, 1, 2, False)],
        ((0, 4),): [(1, 0, 0, False)],
    }


def test_a_slice_that_the_ball_before_has_is_left_out():
    [disc] = discs((2.0, 2.1), (1.0, 1.0, 1.0), (1, 5, 5))
    assert [tuple(place) for place in disc.slices] == [(0, 0, 0, True)]


def test_a_ball_is_clipped_to_the_image():
    [disc] = discs((math.inf,), (1.0, 1.0, 1.0), (1, 2, 4))
    assert disc.rows == ((0, 3), (1, 3))
    assert disc.slices == ((0, 0, 0, True),)


def test_a_long_signal_takes_no_longer_than_its_ball(monkeypatch):
    """The rows of a ball are found from its radius, not from the size of the image."""
    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return norm(*arguments)

    monkeypatch.setattr("dilated_ce.ball.norm", counting)
    discs.cache_clear()
    [disc] = discs((2.0,), (1.0, 1.0, 1.0), (1, 1, 1_000_000))
    assert disc.rows == ((0, 2),)
    assert len(calls) < 10


@pytest.mark.parametrize(
    ("radii", "spacing"),
    [
        ((6.161168720299744, 11.490865937778578), (1.4, 0.6, 0.6)),
        ((12.529964086141668, 13.146862743635836), (1.2, 1.1, 1.1)),
        ((4.965883607174054, 5.3), (0.7, 0.9, 0.9)),
    ],
)
def test_slices_that_rounding_tells_apart(radii, spacing):
    """3, 4 and 0, 5 are as far away, but each radius reaches one alone: no slice has the other."""
    shape = (12, 14, 14)
    found = discs(radii, spacing, shape)
    assert sum(disc.from_nothing for disc in found) == 1
    for octant, radius in zip(put_together(found, 2, shape), radii, strict=True):
        np.testing.assert_array_equal(octant, by_scipy(radius, spacing, shape))


@pytest.mark.parametrize(("voxel", "number"), [(2.92, 7), (1.9, 12), (0.39, 12), (1.67, 11)])
def test_a_radius_that_divides_to_less_than_a_whole_number(voxel, number):
    """7 voxels of 2.92 are a radius of 20.439999999999998, which is 6.999999999999999 of them."""
    radius = number * voxel
    assert int(radius / voxel) == number - 1
    [disc] = discs((radius,), (1.0, 1.0, voxel), (1, 1, 100))
    assert disc.rows == ((0, number),)


def test_the_length_of_an_offset():
    assert norm(1, 2, 2, (1.0, 1.0, 1.0)) == 3
    assert norm(-2, 0, 0, (1.5, 1.0, 1.0)) == norm(0, 0, 3, (9.0, 9.0, 1.0)) == 3
