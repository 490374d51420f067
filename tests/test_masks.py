"""The layout of masks as bits, against counting and indexing in numpy."""

import numpy as np
import oracles
import pytest
import torch

from dilated_ce._packing import MASKS_PER_PLANE, Packing, count, look_up, pack, valid_planes

CLASSES = [1, 2, 3, 4, 5, 8, 9, 16, 17]


def mask_of(planes, packing, image, class_index):
    """The mask of one class of one image, read out as `Packing` says."""
    bit = image % packing.images_per_plane * packing.num_classes + class_index % MASKS_PER_PLANE
    group = image // packing.images_per_plane
    plane = group * packing.planes_per_image + class_index // MASKS_PER_PLANE
    return planes[plane].numpy() >> bit & 1


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("batch", [1, 2, 5, 9])
@pytest.mark.parametrize("shape", [(7,), (40, 41)])  # 41 * 40 is more than count adds up at a time
def test_masks_lie_where_packing_says_and_are_counted(num_classes, batch, shape):
    generator = torch.manual_seed(0)
    labels = torch.randint(0, num_classes, (batch, *shape), generator=generator)
    valid = torch.rand(labels.shape, generator=generator) < 0.7
    packing = Packing(num_classes)
    planes = pack(labels, valid, packing)
    assert planes.shape == (packing.num_planes(batch), *shape)
    volumes = count(planes, packing, batch)
    keep = valid_planes(valid, packing)
    for image in range(batch):
        for class_index in range(num_classes):
            expected = ((labels[image] == class_index) & valid[image]).numpy()
            found = mask_of(planes, packing, image, class_index)
            np.testing.assert_array_equal(found, expected)
            assert volumes[image, class_index] == expected.sum()
            np.testing.assert_array_equal(
                mask_of(keep, packing, image, class_index), valid[image].numpy()
            )


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("overlap", oracles.OVERLAPS)
@pytest.mark.parametrize("rows", [1, 5])
def test_weights_are_the_shares_of_the_masks_that_hold_a_voxel(num_classes, overlap, rows):
    batch, packing = 5, Packing(num_classes)
    generator = torch.manual_seed(0)
    shape = (packing.num_planes(batch), 30)
    planes = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    shares = torch.rand(rows, num_classes, generator=generator)
    weights = look_up(planes, shares, batch, overlap)
    for image in range(batch):
        masks = [mask_of(planes, packing, image, index) for index in range(num_classes)]
        each = np.stack(masks) * shares[image if rows > 1 else 0].numpy()[:, None]
        expected = oracles.OVERLAPS[overlap](each, axis=0)
        np.testing.assert_allclose(weights[image], expected, rtol=1e-6)


@pytest.mark.parametrize("overlap", oracles.OVERLAPS)
def test_a_share_that_no_voxel_has_does_not_matter(overlap):
    planes = torch.tensor([[0b01, 0b01]], dtype=torch.uint8)
    shares = torch.tensor([[0.5, torch.inf]])
    assert look_up(planes, shares, 1, overlap).tolist() == [[0.5, 0.5]]


def test_counts_do_not_overflow_a_byte():
    for side in (300, 600):
        planes = torch.full((1, side, side), 255, dtype=torch.uint8)
        assert count(planes, Packing(8), 1).tolist() == [[side**2] * 8]


@pytest.mark.parametrize("voxels", [0, 7])
def test_volumes_are_whole_numbers_and_planes_bytes(voxels):
    labels = torch.zeros(2, voxels, dtype=torch.long)
    packing = Packing(3)
    planes = pack(labels, None, packing)
    volumes = count(planes, packing, 2)
    assert volumes.dtype == torch.int64
    assert volumes.tolist() == [[voxels, 0, 0]] * 2
    assert planes.dtype == valid_planes(labels == 0, packing).dtype == torch.uint8
