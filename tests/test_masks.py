"""The layout of masks as bits, against counting and indexing in numpy."""

import numpy as np
import pytest
import torch

from dilated_ce import pieces as module
from dilated_ce.masks import BITS, Masks, count_bits, countable, look_up, unpack

CLASSES = [1, 2, 3, 4, 5, 8, 9, 16, 17]
REDUCE = {False: np.sum, True: np.max}  # largest or sum


def mask_of(planes, layout, image, class_index):
    """The mask of one class of one image, read out as `Masks` says."""
    bit = image % layout.lanes * layout.num_classes + class_index % BITS
    plane = image // layout.lanes * layout.depth + class_index // BITS
    return planes[plane].numpy() >> bit & 1


@pytest.fixture(params=[None, 7, 64])
def piece(request, monkeypatch):
    """Pieces as they are, and small ones."""
    if request.param is not None:
        monkeypatch.setattr(module, "PIECE", request.param)


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("batch", [1, 2, 5, 9])
@pytest.mark.parametrize("shape", [(7,), (40, 41)])
@pytest.mark.usefixtures("piece")
def test_masks_lie_where_the_layout_says_and_are_counted(num_classes, batch, shape):
    generator = torch.manual_seed(0)
    labels = torch.randint(0, num_classes, (batch, *shape), generator=generator)
    valid = torch.rand(labels.shape, generator=generator) < 0.7
    for dtype in (torch.int64, torch.uint8, torch.int32):
        masks = Masks.of(labels.to(dtype), valid, num_classes)
        assert masks.planes.dtype == torch.uint8
        assert masks.planes.shape == (-(-batch // masks.lanes) * masks.depth, *shape)
        volumes = masks.volumes()
        keep = masks.inside
        unpacked = unpack(masks.planes.flatten(), batch, num_classes, shape).numpy()
        for image in range(batch):
            for c in range(num_classes):
                expected = ((labels[image] == c) & valid[image]).numpy()
                np.testing.assert_array_equal(mask_of(masks.planes, masks, image, c), expected)
                np.testing.assert_array_equal(unpacked[image, c], expected)
                assert volumes[image, c] == expected.sum()
                np.testing.assert_array_equal(mask_of(keep, masks, image, c), valid[image].numpy())


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("batch", [1, 2, 5, 9])
def test_bits_of_chosen_masks(num_classes, batch):
    labels = torch.zeros(batch, 1, dtype=torch.long)
    layout = Masks.of(labels, None, num_classes)
    chosen = torch.rand(3, batch, num_classes, generator=torch.manual_seed(0)) < 0.5
    bits = layout.select(chosen)
    assert bits.shape == (3, len(layout.planes))
    for each, of_each in zip(chosen, bits, strict=True):
        for image in range(batch):
            found = [mask_of(of_each, layout, image, c) for c in range(num_classes)]
            assert found == each[image].int().tolist()


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("piece")
def test_what_voxels_get_from_the_masks_that_hold_them(num_classes, largest, rows, dtype):
    batch, generator = 5, torch.manual_seed(0)
    layout = Masks.of(torch.zeros(batch, 30, dtype=torch.long), None, num_classes)
    planes = torch.randint(0, 256, layout.planes.shape, dtype=torch.uint8, generator=generator)
    table = torch.rand(rows, num_classes, generator=generator, dtype=dtype)
    found = look_up(planes.flatten(), table, batch, planes.shape[1:], largest)
    assert found.dtype == dtype
    for image in range(batch):
        masks = [mask_of(planes, layout, image, index) for index in range(num_classes)]
        each = np.stack(masks) * table[image if rows > 1 else 0].numpy()[:, None]
        np.testing.assert_allclose(found[image], REDUCE[largest](each, axis=0), rtol=1e-6)


@pytest.mark.parametrize("largest", [True, False])
def test_a_share_that_no_voxel_has_does_not_matter(largest):
    planes = torch.tensor([0b01, 0b01], dtype=torch.uint8)
    table = torch.tensor([[0.5, torch.inf]])
    assert look_up(planes, table, 1, (2,), largest).tolist() == [[0.5, 0.5]]


def test_counts_do_not_overflow():
    for side in (300, 600):
        planes = torch.full((1, side, side), 255, dtype=torch.uint8)
        assert count_bits(planes).tolist() == [[side**2] * 8]


@pytest.mark.parametrize("size", [1, 7, 8, 130_559, 130_560, 130_561, 300_000])
@pytest.mark.usefixtures("piece")
def test_bits_are_counted_one_by_one(size):
    planes = torch.randint(0, 256, (2, size), dtype=torch.uint8, generator=torch.manual_seed(0))
    expected = np.unpackbits(planes.numpy()[..., None], axis=-1, bitorder="little").sum(1)
    np.testing.assert_array_equal(count_bits(planes), expected)
    assert countable(size) >= size
    assert countable(countable(size)) == countable(size)


@pytest.mark.parametrize("voxels", [0, 7])
def test_volumes_are_whole_numbers_and_planes_bytes(voxels):
    labels = torch.zeros(2, voxels, dtype=torch.long)
    masks = Masks.of(labels, None, 3)
    volumes = masks.volumes()
    assert volumes.dtype == torch.int64
    assert volumes.tolist() == [[voxels, 0, 0]] * 2
    inside = Masks.of(labels, labels == 0, 3).inside
    assert masks.planes.dtype == inside.dtype == torch.uint8


@pytest.mark.parametrize("size", [1, 64, 2040, 2041, 5000, 100_000, 130_560, 200_000])
def test_a_plane_is_padded_by_little(size):
    """Many small images would else take hundreds of times their size."""
    assert size <= countable(size) <= max(2040, 2.1 * size)
