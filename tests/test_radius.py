"""radius="auto"."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import strategies
import torch
from hypothesis import given
from torch.utils._python_dispatch import TorchDispatchMode

from dilated_ce import (
    DilatedBalancedCELoss,
    dilate_labels,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)
from dilated_ce._automatic import automatic_radii, by_size
from dilated_ce._packing import Packing, pack


def radii_of(labels, num_classes, spacing):
    packing = Packing(num_classes)
    planes = pack(labels, None, packing)
    return automatic_radii(planes, packing, len(labels), spacing, None)


def ball(shape, radius, centre=None):
    axes = np.indices(shape)
    centre = [side / 2 for side in shape] if centre is None else centre
    squares = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True))
    return torch.from_numpy((squares <= radius**2).astype(np.int64))


@given(st.data())
def test_masks_are_those_of_the_definition(data):
    case = data.draw(strategies.label_maps())
    # A finest voxel of another size only moves the rungs that radii are rounded to.
    spacing = data.draw(st.sampled_from([1.0, 0.7, 3.0])), 1.0, 2.0
    spacing = spacing[: case.labels.ndim - 1]
    options = {"num_classes": case.num_classes, "spacing": spacing}
    ours = dilate_labels(case.labels, "auto", ignore_index=case.ignore_index, **options)
    reference = oracles.dilated_masks(
        case.labels, "auto", case.num_classes, spacing, case.ignore_index
    )
    np.testing.assert_array_equal(ours.numpy(), reference)


@given(
    case=strategies.label_maps(max_classes=9, min_classes=2),
    balance=st.sampled_from(["batch", "image"]),
    overlap=st.sampled_from(list(oracles.OVERLAPS)),
)
def test_loss_is_that_of_the_definition(case, balance, overlap):
    shape = (len(case.labels), case.num_classes, *case.labels.shape[1:])
    logits = torch.randn(shape, generator=torch.manual_seed(0))
    options = {"balance": balance, "overlap": overlap, "ignore_index": case.ignore_index}
    ours = dilated_balanced_cross_entropy(logits, case.labels, "auto", **options)
    reference = oracles.loss(logits, case.labels, "auto", **options)
    torch.testing.assert_close(ours.double(), reference, rtol=1e-5, atol=1e-6)


def test_an_objects_radius_is_of_its_size():
    # d |M| / |dM|, with the faces of voxels for the surface: 0.79 r for a disc, 0.67 r for a ball.
    disc = radii_of(ball((128, 128), 20)[None], 2, (1.0, 1.0))
    assert disc[0] == [math.inf, 16.0]
    sphere = radii_of(ball((48, 48, 48), 12)[None], 2, (1.0, 1.0, 1.0))
    assert sphere[0] == [math.inf, 8.0]
    tube = torch.zeros(1, 64, 64, dtype=torch.long)
    tube[:, :, 30:32] = 1  # from border to border: a half-width of 1
    assert radii_of(tube, 2, (1.0, 1.0))[0] == [math.inf, 2.0]


def test_a_slice_is_the_same_in_2d_and_as_a_volume():
    labels = ball((32, 32), 7)[None]
    flat = dilate_labels(labels, "auto", num_classes=2)
    for axis in (1, 2, 3):
        volume = dilate_labels(labels.unsqueeze(axis), "auto", num_classes=2)
        assert torch.equal(volume.squeeze(axis + 1), flat)


# Volumes over surfaces that are next to where the rounding changes.
@pytest.mark.parametrize(
    ("volume", "surface"), [(6041, 1796), (18086, 5377), (8969, 3771), (12539, 2636), (17938, 3771)]
)
def test_radii_are_rounded_in_double_precision(volume, surface):
    # Single voxels and one run, from the first voxel on if that makes the surface odd.
    objects = [1] * (surface // 2 - 1 + surface % 2)
    objects.append(volume - len(objects))
    labels = torch.cat([torch.tensor([1] * size + [0]) for size in objects])
    background = torch.zeros(volume, dtype=torch.long)
    labels = torch.cat([background[: 1 - surface % 2], labels, background])[None]
    expected = oracles.automatic_radii(labels, 2)
    assert radii_of(labels, 2, (1.0,)) == expected.tolist()


def test_a_class_that_is_not_there_has_no_radius():
    assert radii_of(torch.zeros(1, 4, 4, dtype=torch.long), 2, (1.0, 1.0)) == [[math.inf, 0.0]]


def test_small_objects_have_a_neighbourhood_too():
    labels = torch.zeros(1, 9, 9, dtype=torch.long)
    labels[0, 4, 4] = 1
    assert radii_of(labels, 2, (0.5, 1.5))[0] == [math.inf, 1.0]  # of 2 finest voxels


def test_each_image_has_its_own():
    small, large = ball((64, 64), 5), ball((64, 64), 20)
    both = dilate_labels(torch.stack([small, large]), "auto", num_classes=2)
    for image, of_both in zip((small, large), both, strict=True):
        alone = dilate_labels(image[None], "auto", num_classes=2)[0]
        assert torch.equal(of_both, alone)
    [(_, of_small), (_, of_large)] = radii_of(torch.stack([small, large]), 2, (1.0, 1.0))
    assert of_small < of_large


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0), (1, 0)])
@pytest.mark.parametrize("balance", ["batch", "image"])
def test_without_a_voxel_there_is_no_radius_to_find(shape, balance):
    labels = torch.zeros(shape, dtype=torch.long)
    masks = dilate_labels(labels, "auto", num_classes=2)
    assert masks.shape == (shape[0], 2, *shape[1:])
    logits = torch.randn(shape[0], 2, *shape[1:], requires_grad=True)
    loss = dilated_balanced_cross_entropy(logits, labels, "auto", balance=balance)
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("factor", [0.3, 3.7])
def test_a_length_has_no_unit(factor):
    labels = torch.stack([ball((24, 40), r, (10, 20)) for r in (3, 6, 9)])
    spacing = (1.5, 0.8)
    scaled = tuple(factor * size for size in spacing)
    masks = [dilate_labels(labels, "auto", num_classes=2, spacing=s) for s in (spacing, scaled)]
    assert torch.equal(*masks)


@given(strategies.label_maps(max_classes=5, ignorable=False), st.randoms())
def test_order_of_classes_and_orientation_are_nothing(case, random):
    order = list(range(case.num_classes))
    random.shuffle(order)
    options = {"num_classes": case.num_classes, "balance": "image"}
    weights = dilated_balanced_weights(case.labels, "auto", **options)
    renamed = dilated_balanced_weights(torch.tensor(order)[case.labels], "auto", **options)
    torch.testing.assert_close(renamed, weights)
    turned = dilated_balanced_weights(case.labels.transpose(1, -1).flip(-1), "auto", **options)
    torch.testing.assert_close(turned.flip(-1).transpose(1, -1), weights)


@pytest.mark.parametrize("width", range(6, 20))
def test_the_weights_are_the_formula_even_where_other_masks_reach_everywhere(width):
    """1 + 2/K sum of sqrt(V / v_c) over the classes but the largest whose mask holds the voxel."""
    labels = torch.zeros(1, 24, 24, dtype=torch.long)
    labels[0, :, 2 : 2 + width] = 1  # its mask comes to hold the whole image
    labels[0, 2:5, :2] = 2
    labels[0, 20:22, 22:] = 3
    masks = dilate_labels(labels, "auto", num_classes=4)[0].double()
    largest = int(labels.flatten().bincount().argmax())
    others = [c for c in range(4) if c != largest]
    expected = 1 + 2 / 3 * sum(
        (masks[c].numel() / masks[c].sum()) ** 0.5 * masks[c] for c in others
    )
    weights = dilated_balanced_weights(labels, "auto", num_classes=4)[0]
    torch.testing.assert_close(weights.double(), expected / expected.mean(), rtol=1e-5, atol=1e-6)


def test_it_needs_no_float64_on_the_device():
    """Apple's GPUs have none."""

    class WithoutFloat64(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            # What has been brought to the host may be wide: no more than a few numbers.
            wide = isinstance(result, torch.Tensor) and result.dtype == torch.float64
            assert not wide or result.numel() <= 3 * 2 * 3, function
            return result

    logits = torch.randn(2, 3, 40, 40, requires_grad=True)
    target = torch.stack([ball((40, 40), 5), 2 * ball((40, 40), 9)])
    with WithoutFloat64():
        dilated_balanced_cross_entropy(logits, target, "auto").backward()
    assert by_size(torch.tensor([[9, 4]]), torch.float32).dtype == torch.float32


def test_a_radius_holds_the_voxels_exactly_at_it():
    disc = ball((32, 32), 4)[None]
    assert radii_of(disc, 2, (1.0, 1.0)) == [[math.inf, math.sqrt(8.0)]]
    masks = dilate_labels(disc, "auto", num_classes=2)
    np.testing.assert_array_equal(masks, oracles.dilated_masks(disc, (math.inf, math.sqrt(8.0)), 2))


def test_a_class_alone_gives_plain_cross_entropy():
    logits = torch.randn(2, 3, 8, 8, generator=torch.manual_seed(0))
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    target[1] = 2
    loss = dilated_balanced_cross_entropy(logits, target, "auto")
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, target))


@pytest.mark.parametrize("mode", ["multilabel", "binary"])
def test_each_channel_has_its_own(mode):
    channels = [ball((32, 32), 4)] if mode == "binary" else [ball((32, 32), r) for r in (4, 8)]
    target = torch.stack(channels)[None]
    logits = torch.randn(target.shape, generator=torch.manual_seed(0))
    loss = dilated_balanced_cross_entropy(logits, target, "auto", mode=mode)
    by_channel = [
        dilated_balanced_cross_entropy(torch.stack([torch.zeros_like(z), z], 1), t, "auto")
        for z, t in zip(logits.unbind(1), target.unbind(1), strict=True)
    ]
    torch.testing.assert_close(loss, torch.stack(by_channel).mean())


def test_the_module_shows_it_and_takes_no_other_word():
    assert "radius='auto'" in repr(DilatedBalancedCELoss("auto"))
    with pytest.raises(TypeError, match=r"radius: got 'best', expected a number, .* or 'auto'"):
        DilatedBalancedCELoss("best")
