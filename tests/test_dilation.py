"""Dilated masks, against scipy's exact distance transform."""

import math
import subprocess
import sys

import accelerator
import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import strategies
import torch
from hypothesis import given

from dilated_ce import (
    adaptive_dilated_weights,
    dilate_labels,
    dilated_balanced_weights,
    dilation,
    growing,
    pieces,
)


@given(st.data())
def test_equals_scipys_exact_distance_transform(data):
    case = data.draw(strategies.label_maps())
    spacing = data.draw(strategies.spacings(case.labels.ndim - 1))
    radius = data.draw(
        st.one_of(
            strategies.radii(),
            st.lists(strategies.radii(), min_size=case.num_classes, max_size=case.num_classes),
        )
    )
    ours = dilate_labels(
        case.labels,
        radius,
        num_classes=case.num_classes,
        spacing=spacing,
        ignore_index=case.ignore_index,
    )
    reference = oracles.dilated_masks(
        case.labels, radius, case.num_classes, spacing, case.ignore_index
    )
    assert ours.dtype == torch.bool
    assert ours.shape == reference.shape
    np.testing.assert_array_equal(ours.numpy(), reference)


@pytest.mark.parametrize("num_classes", [7, 8, 9, 16, 17, 70, 255, 256, 257, 300])
def test_any_number_of_classes(num_classes):
    labels = torch.randint(0, num_classes, (2, 11, 13), generator=torch.manual_seed(0))
    ours = dilate_labels(labels, 2.5, num_classes=num_classes)
    np.testing.assert_array_equal(ours, oracles.dilated_masks(labels, 2.5, num_classes))


def test_rows_of_every_length():
    """Longer rows are made of shorter ones, by moves of 1 to 8 bytes."""
    labels = torch.zeros(1, 90, dtype=torch.long)
    labels[0, 45] = 1
    for radius in range(46):
        ours = dilate_labels(labels, radius, num_classes=2)
        np.testing.assert_array_equal(ours, oracles.dilated_masks(labels, radius, 2))


def test_a_disc_that_does_not_hold_the_one_before():
    """Rounding tells slices of two balls apart that are one disc: see `test_ball.py`."""
    labels = torch.zeros(1, 21, 23, 25, dtype=torch.long)
    labels[0, 10, 11, 8], labels[0, 10, 11, 16] = 1, 2
    options = {"num_classes": 3, "spacing": (1.4, 0.6, 0.6)}
    radii = [0.0, 6.161168720299744, 11.490865937778578]
    ours = dilate_labels(labels, radii, **options)
    np.testing.assert_array_equal(ours, oracles.dilated_masks(labels, radii, **options))


@pytest.mark.parametrize("radius", [1, 2, 3.7, 8, 25, 40])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((1, 64, 48), (1.0, 1.0)), ((1, 14, 40, 37), (3.0, 0.8, 0.8))]
)
def test_large_images_and_radii(shape, spacing, radius):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy((rng.random(shape) < 0.001).astype(np.int64))
    ours = dilate_labels(labels, radius, num_classes=2, spacing=spacing)
    np.testing.assert_array_equal(ours, oracles.dilated_masks(labels, radius, 2, spacing))


@pytest.mark.parametrize("kept", [0, 2**26])
@pytest.mark.parametrize("together", [1, 2, 8])
@pytest.mark.parametrize("piled", [0, 1000])
@pytest.mark.parametrize(
    "shape", [(3, 70), (3, 31, 29), (3, 1, 31, 29), (3, 31, 1, 29), (2, 9, 12, 11)]
)
def test_every_way_to_make_discs_gives_the_same(monkeypatch, shape, piled, together, kept):
    """Rows may be kept or grown anew, discs made alone or together, rows of an image piled up."""
    monkeypatch.setattr(growing, "KEPT", kept)
    monkeypatch.setattr(growing, "TOGETHER", together)
    monkeypatch.setattr(growing, "PILED", piled)
    rng = np.random.default_rng(0)
    labels = torch.from_numpy((rng.random(shape) < 0.02) * rng.integers(1, 4, shape))
    spacing = (1.4, 0.6, 0.6)[-labels.ndim + 1 :]
    for radius in (7.3, [1.0, 3.1, 7.0, 12.0], [2.0, 0.0, 9.5, math.inf], [12.0, 7.0, 3.1, 1.0]):
        for some in (labels, 3 - labels):  # the first class is everywhere, or nearly nowhere
            ours = dilate_labels(some, radius, num_classes=4, spacing=spacing)
            np.testing.assert_array_equal(ours, oracles.dilated_masks(some, radius, 4, spacing))


LARGE_BALLS = """
import resource, torch
from dilated_ce import dilate_labels

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def dilate(shape, radius):
    labels = torch.zeros(shape, dtype=torch.uint8)
    labels.view(-1)[7] = 1
    dilate_labels(labels, radius, num_classes=2)

shapes = (1, 100_000), (1, 512, 512), (1, 8, 256, 256)
for shape in shapes:
    dilate(shape, 1)
before = peak()
for shape, radius in zip(shapes, (2000, 500, 250)):
    dilate(shape, radius)
    dilate(shape, [0.9 * radius, radius])
print(peak() - before)
"""


def test_a_large_radius_takes_no_memory_with_its_square():
    """All rows of a ball of 500 pixels took 1.2 GB, and those of two radii 2.2 GB."""
    found = subprocess.run(
        [sys.executable, "-c", LARGE_BALLS], check=True, capture_output=True, text=True
    )
    assert float(found.stdout) < 100  # MiB


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint64, torch.bool],
)
def test_every_integer_dtype_gives_the_same(dtype):
    labels = torch.randint(0, 2, (2, 9, 9), generator=torch.manual_seed(0))
    assert torch.equal(
        dilate_labels(labels.to(dtype), 2, num_classes=2), dilate_labels(labels, 2, num_classes=2)
    )


def test_non_contiguous_labels():
    labels = torch.randint(0, 3, (9, 8, 2), generator=torch.manual_seed(0)).movedim(2, 0)
    assert not labels.is_contiguous()
    assert torch.equal(
        dilate_labels(labels, 2, num_classes=3),
        dilate_labels(labels.contiguous(), 2, num_classes=3),
    )


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (1, 1), (1, 1, 1, 1)])
def test_empty_batch_and_one_voxel(shape):
    masks = dilate_labels(torch.zeros(shape, dtype=torch.long), 3, num_classes=2)
    assert masks.shape == (shape[0], 2, *shape[1:])
    assert masks[:, 0].all()
    assert not masks[:, 1].any()


def test_images_do_not_touch_each_other():
    labels = torch.zeros(2, 5, 5, dtype=torch.long)
    labels[0, 2, 2] = 1
    masks = dilate_labels(labels, math.inf, num_classes=2)
    assert masks[0, 1].all()
    assert not masks[1, 1].any()


def test_an_ignored_label_may_look_like_a_class_modulo_256():
    labels = torch.tensor([[0, 0, 256, 0, 0]])
    masks = dilate_labels(labels, 1, num_classes=2, ignore_index=256)
    assert masks[0].int().tolist() == [[1, 1, 0, 1, 1], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("ignore_index", [-100, 300, -1])
def test_an_ignored_label_that_the_dtype_cannot_hold_matches_nothing(ignore_index):
    wrapped = ignore_index % 256
    labels = torch.tensor([[0, 0, wrapped, 0, 0]], dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"got label {wrapped}, expected 0 ... 1"):
        dilate_labels(labels, 1, num_classes=2, ignore_index=ignore_index)


@pytest.mark.parametrize(("dtype", "num_classes"), [(torch.uint8, 257), (torch.int8, 200)])
def test_more_classes_than_the_dtype_can_hold(dtype, num_classes):
    labels = torch.tensor([[0, 12, 40, 12]], dtype=dtype)
    masks = dilate_labels(labels, 0, num_classes=num_classes, ignore_index=12)
    assert masks.sum((0, 2)).nonzero().flatten().tolist() == [0, 40]


@pytest.mark.parametrize("num_classes", [3, 20])
def test_every_class_with_a_radius_of_its_own(num_classes):
    labels = torch.randint(0, num_classes, (2, 15, 16), generator=torch.manual_seed(0))
    radius = [0.5 * index for index in range(num_classes - 1)] + [math.inf]
    ours = dilate_labels(labels, radius, num_classes=num_classes)
    np.testing.assert_array_equal(ours, oracles.dilated_masks(labels, radius, num_classes))


def test_input_is_left_as_it_was():
    labels = torch.randint(0, 3, (1, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    before = labels.clone()
    for radius in (0, 2, math.inf):
        dilate_labels(labels, radius, num_classes=3)
    assert torch.equal(labels, before)


@pytest.mark.parametrize("size", [40, 1000])
@pytest.mark.parametrize("on_host", [True, False])
def test_the_size_of_the_pieces_changes_nothing(monkeypatch, size, on_host):
    """On a CPU they stay in the cache; on an accelerator they bound the memory."""
    rng = np.random.default_rng(0)
    cases = [
        (rng.integers(0, 3, (5, 37, 41)), (0.0, 3.0, 7.5), (1.0, 1.0)),
        (rng.integers(0, 2, (3, 6, 14, 11)), (2.0, 2.0), (2.5, 0.8, 0.8)),
        (rng.integers(0, 9, (2, 70)), (4.0,) * 9, (1.0,)),
        (rng.integers(0, 2, (9, 4, 5, 6)), None, (1.0, 1.0, 1.0)),
    ]
    for labels, radii, spacing in cases:
        classes = int(labels.max()) + 1
        arguments = ("labels", torch.from_numpy(labels), classes, radii, spacing, 1)
        whole = dilation.dilate_masks(*arguments)
        weights = adaptive_dilated_weights(arguments[1], num_classes=classes, ignore_index=1)
        with monkeypatch.context() as patch:
            if on_host:
                patch.setattr(pieces, "PIECE", size)
            else:
                accelerator.imitate(patch, size)
            for part, of_whole in zip(dilation.dilate_masks(*arguments), whole, strict=True):
                assert torch.equal(part, of_whole)
            in_parts = adaptive_dilated_weights(arguments[1], num_classes=classes, ignore_index=1)
            assert torch.equal(in_parts, weights)


@pytest.mark.parametrize("num_classes", [2, 3, 20])
def test_images_that_go_in_turns_give_the_same(monkeypatch, num_classes):
    """Beyond a limit of memory images are dilated a few at a time."""
    generator = torch.manual_seed(0)
    labels = torch.randint(0, num_classes, (7, 20, 30), generator=generator)
    labels[2, :3] = 255
    radii = [1.0 + index % 3 for index in range(num_classes)]
    options = {"num_classes": num_classes, "ignore_index": 255}
    before = [
        dilated_balanced_weights(labels, radii, **options),
        adaptive_dilated_weights(labels, **options),
    ]
    monkeypatch.setattr(dilation, "SCRATCH", 1)
    assert torch.equal(dilated_balanced_weights(labels, radii, **options), before[0])
    assert torch.equal(adaptive_dilated_weights(labels, **options), before[1])
