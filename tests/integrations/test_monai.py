"""The losses and the transform for MONAI, held against MONAI's own and the core."""

import copy
import inspect
import math
import pickle
import re

import monai
import numpy as np
import oracles
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.losses import DeepSupervisionLoss, DiceCELoss, DiceLoss
from monai.transforms import Compose, EnsureChannelFirstd, RandSpatialCropd, Spacingd

from dilated_ce import (
    adaptive_dilated_cross_entropy,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)
from dilated_ce.integrations.monai import (
    AdaptiveDilatedCELoss,
    AdaptiveDilatedDiceCELoss,
    AdaptiveDilatedWeights,
    AdaptiveDilatedWeightsd,
    DilatedBalancedCELoss,
    DilatedBalancedDiceCELoss,
    DilatedBalancedWeights,
    DilatedBalancedWeightsd,
)

# Constructor arguments, input, target, expected value: worked out by hand, as in MONAI's own tests.
CASES = [
    # radius 0 in 1D, one voxel of the foreground: (log 2 + log 2) / 2 and Dice of an even guess
    [
        {"to_onehot_y": True, "softmax": True, "radius": 0, "lambda_dice": 0.0},
        [[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]],
        [[[0, 0, 1]]],
        math.log(2),
    ],
    # the network is sure of the background: 0 there, 100 at the voxel of the foreground
    [
        {"to_onehot_y": True, "radius": 0, "lambda_dice": 0.0},
        [[[100.0, 100.0, 100.0], [0.0, 0.0, 0.0]]],
        [[[0, 0, 1]]],
        50.0,
    ],
    # dilated by 1: the background is everywhere (1/3 each), the foreground holds two voxels
    [
        {"to_onehot_y": True, "radius": 1, "lambda_dice": 0.0},
        [[[100.0, 100.0, 100.0], [0.0, 0.0, 0.0]]],
        [[[0, 0, 1]]],
        100 * (1 / 3 + 1 / 2) / 2,
    ],
    # an infinite radius is plain cross entropy
    [
        {"to_onehot_y": True, "radius": math.inf, "lambda_dice": 0.0},
        [[[100.0, 100.0, 100.0], [0.0, 0.0, 0.0]]],
        [[[0, 0, 1]]],
        100 / 3,
    ],
    # one-hot targets, ints and floats
    [
        {"radius": 1, "lambda_dice": 0.0},
        [[[100.0, 100.0, 100.0], [0.0, 0.0, 0.0]]],
        [[[1, 1, 0], [0, 0, 1]]],
        100 * (1 / 3 + 1 / 2) / 2,
    ],
    # one channel: background and foreground of a mask
    [
        {"sigmoid": True, "radius": 1, "lambda_dice": 0.0},
        [[[-100.0, -100.0, -100.0]]],
        [[[0, 0, 1]]],
        100 * (1 / 3 + 1 / 2) / 2,
    ],
    # a class that counts three times as much
    [
        {"to_onehot_y": True, "radius": 0, "lambda_dice": 0.0, "weight": [1.0, 3.0]},
        [[[100.0, 100.0, 100.0], [0.0, 0.0, 0.0]]],
        [[[0, 0, 1]]],
        75.0,
    ],
    # Dice alone is MONAI's, here 0 for a perfect prediction
    [
        {"to_onehot_y": True, "softmax": True, "lambda_ce": 0.0},
        [[[100.0, 100.0, -100.0], [-100.0, -100.0, 100.0]]],
        [[[0, 0, 1]]],
        0.0,
    ],
]


@pytest.mark.parametrize(("arguments", "input", "target", "expected"), CASES)
def test_values(arguments, input, target, expected):
    for dtype in (torch.float32, torch.int64, torch.uint8):
        loss = DilatedBalancedDiceCELoss(**{"radius": 1, **arguments})
        value = loss(torch.tensor(input), torch.tensor(target).to(dtype))
        torch.testing.assert_close(value, torch.tensor(expected), rtol=1e-4, atol=1e-4)


FORMS = [
    ({"to_onehot_y": True, "softmax": True}, 3, 1),
    ({"to_onehot_y": True}, 3, 1),
    ({"softmax": True}, 3, 3),
    ({"include_background": False, "to_onehot_y": True, "softmax": True}, 3, 1),
    ({"to_onehot_y": True, "softmax": True, "squared_pred": True, "jaccard": True}, 3, 1),
    ({"to_onehot_y": True, "softmax": True, "batch": True, "reduction": "sum"}, 3, 1),
    ({"to_onehot_y": True, "other_act": torch.tanh}, 3, 1),
    ({"sigmoid": True}, 1, 1),
    ({"sigmoid": True, "smooth_nr": 0, "smooth_dr": 1e-6}, 1, 1),
    ({"to_onehot_y": True, "softmax": True, "lambda_dice": 0.3, "lambda_ce": 2.0}, 3, 1),
    ({"to_onehot_y": True, "softmax": True, "label_smoothing": 0.2}, 3, 1),
]


@pytest.mark.parametrize(("arguments", "channels", "target_channels"), FORMS)
@pytest.mark.parametrize("size", [(9,), (6, 5), (4, 5, 3)])
def test_an_infinite_radius_is_dice_ce_for_all_its_forms(
    arguments, channels, target_channels, size
):
    """With every class in every image: arguments in the same order, and the same values."""
    voxels = math.prod(size)
    labels = (torch.arange(2 * voxels) % max(channels, 2)).view(2, 1, *size).float()
    target = labels
    if target_channels > 1:
        target = F.one_hot(labels[:, 0].long(), channels).movedim(-1, 1).float()
    logits = torch.randn(2, channels, *size, generator=torch.manual_seed(0))
    ours = DilatedBalancedDiceCELoss(**arguments, radius=math.inf)(logits, target)
    torch.testing.assert_close(ours, DiceCELoss(**arguments)(logits, target))


def test_the_arguments_have_the_order_of_dice_ce():
    theirs = list(inspect.signature(DiceCELoss.__init__).parameters)
    ours = list(inspect.signature(DilatedBalancedDiceCELoss.__init__).parameters)
    assert ours[: len(theirs)] == theirs
    assert ours[len(theirs)] == "radius"
    adaptive = list(inspect.signature(AdaptiveDilatedDiceCELoss.__init__).parameters)
    assert adaptive[: len(theirs)] == theirs
    assert adaptive == [name for name in ours if name not in ("radius", "volumes", "num_voxels")]


def test_is_dice_plus_the_loss_of_the_core():
    labels = torch.randint(0, 3, (2, 1, 9, 8), generator=torch.manual_seed(0))
    logits = torch.randn(2, 3, 9, 8, generator=torch.manual_seed(1))
    options = {"spacing": (1.0, 0.5), "volumes": "image"}
    ours = DilatedBalancedDiceCELoss(to_onehot_y=True, softmax=True, radius=2, **options)
    dice = DiceLoss(to_onehot_y=True, softmax=True)(logits, labels)
    expected = dice + dilated_balanced_cross_entropy(logits, labels, 2, **options)
    torch.testing.assert_close(ours(logits, labels), expected)
    adaptive = AdaptiveDilatedDiceCELoss(to_onehot_y=True, softmax=True, spacing=(1.0, 0.5))
    expected = dice + adaptive_dilated_cross_entropy(logits, labels, spacing=(1.0, 0.5))
    torch.testing.assert_close(adaptive(logits, labels), expected)


def test_with_sigmoid_channels_may_overlap():
    target = (torch.rand(2, 3, 9, 8, generator=torch.manual_seed(0)) < 0.4).float()
    logits = torch.randn(2, 3, 9, 8, generator=torch.manual_seed(1))
    expected = dilated_balanced_cross_entropy(logits, target, 2, mode="multilabel")
    torch.testing.assert_close(DilatedBalancedCELoss(2, sigmoid=True)(logits, target), expected)
    adaptive = adaptive_dilated_cross_entropy(logits, target, mode="multilabel")
    torch.testing.assert_close(AdaptiveDilatedCELoss(sigmoid=True)(logits, target), adaptive)
    both = DilatedBalancedDiceCELoss(sigmoid=True, radius=2)(logits, target)
    torch.testing.assert_close(both, expected + DiceLoss(sigmoid=True)(logits, target))
    assert AdaptiveDilatedDiceCELoss(sigmoid=True)(logits, target.bool()).isfinite()


def test_with_sigmoid_class_indices_become_masks():
    labels = torch.randint(0, 3, (2, 1, 9, 8), generator=torch.manual_seed(0))
    labels[0, 0, :2] = 255
    logits = torch.randn(2, 3, 9, 8, generator=torch.manual_seed(1))
    masks = torch.cat([(labels == c).long() for c in range(3)], dim=1)
    masks = torch.where(labels == 255, 255, masks)
    loss = DilatedBalancedCELoss(1, sigmoid=True, ignore_index=255)
    torch.testing.assert_close(loss(logits, labels.float()), loss(logits, masks))


@pytest.mark.parametrize(
    ("input", "target", "message"),
    [
        ((1, 2, 3, 3), (1, 3, 3), "the number of dimensions for input and target"),
        ((1, 3, 3, 3), (1, 2, 3, 3), "number of channels for target is neither 1"),
        ((1, 2, 3, 3), (1, 1, 3, 4), "ground truth has different shape"),
        ((2, 2, 3, 3), (1, 1, 3, 3), "ground truth has different shape"),
    ],
)
@pytest.mark.parametrize("loss", [AdaptiveDilatedCELoss, AdaptiveDilatedDiceCELoss])
def test_shapes_that_do_not_fit(loss, input, target, message):
    with pytest.raises(ValueError, match=message):
        loss()(torch.zeros(input), torch.zeros(target))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lambda_dice": -1.0}, ValueError, "lambda_dice should be no less than 0.0"),
        ({"lambda_ce": -1.0}, ValueError, "lambda_ce should be no less than 0.0"),
        ({"sigmoid": True, "softmax": True}, ValueError, "Incompatible values"),
        ({"other_act": "relu"}, TypeError, "other_act must be None or callable"),
        ({"reduction": "none"}, ValueError, "none"),
        ({"radius": -1}, ValueError, "radius: got -1, expected >= 0"),
        ({"roi_size": (32, 0)}, ValueError, "roi_size: got"),
        ({"roi_size": 32}, TypeError, "roi_size: got 32, expected 1 to 3 whole numbers"),
        ({"weight": "a"}, TypeError, "weight: got 'a'"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        DilatedBalancedDiceCELoss(**{"radius": 1, **arguments})


def test_a_label_that_was_interpolated_is_named():
    target = torch.zeros(1, 1, 4, 4)
    target[0, 0, 1, 1] = 0.5
    with pytest.raises(ValueError, match=r"target: got 0.5, expected whole numbers"):
        AdaptiveDilatedCELoss()(torch.zeros(1, 2, 4, 4), target)


@pytest.mark.parametrize("options", [{"volumes": [900, 100]}, {"weight": 2.0}])
def test_one_channel_takes_options_with_one_radius_or_one_number(options):
    logits = torch.randn(2, 1, 9, 8, generator=torch.manual_seed(0))
    target = (logits > 0.5).long()
    expected = DilatedBalancedCELoss(3, **options)(logits, target)
    assert DilatedBalancedCELoss([3], **options)(logits, target) == expected
    core = dilated_balanced_cross_entropy(logits, target, 3, mode="binary", **options)
    torch.testing.assert_close(expected, core)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.long, torch.float32])
@pytest.mark.parametrize("wrong", [3, 200])
def test_an_index_that_is_no_mask(dtype, wrong):
    """With masks of their own, too: it would be background in all of them, without a word."""
    target = torch.zeros(1, 1, 4, 5, dtype=dtype)
    target[0, 0, 1, 2] = wrong
    logits = torch.zeros(1, 3, 4, 5)
    for criterion in (AdaptiveDilatedCELoss(sigmoid=True), DilatedBalancedCELoss(2, sigmoid=True)):
        with pytest.raises(ValueError, match=rf"target: got label {wrong}, expected 0 \.\.\. 2"):
            criterion(logits, target)
    ignoring = AdaptiveDilatedCELoss(sigmoid=True, ignore_index=wrong)
    rest = torch.zeros(1, 1, 4, 5, dtype=torch.long)
    rest[0, 0, 1, 2] = -100
    expected = AdaptiveDilatedCELoss(sigmoid=True)(logits, rest)
    torch.testing.assert_close(ignoring(logits, target), expected)


class TestDeepSupervision:
    def levels(self):
        generator = torch.manual_seed(0)
        sizes = [(16, 24), (8, 12), (4, 6)]
        logits = [torch.randn(2, 3, *size, generator=generator) for size in sizes]
        return logits, torch.randint(0, 3, (2, 1, 16, 24), generator=generator).float()

    @pytest.mark.parametrize("loss", [DilatedBalancedCELoss, DilatedBalancedDiceCELoss])
    def test_the_radius_is_the_same_length_at_each_level(self, loss):
        logits, target = self.levels()
        options = {"to_onehot_y": True} if loss is DilatedBalancedDiceCELoss else {}
        supervised = DeepSupervisionLoss(
            loss(radius=4, roi_size=(16, 24), spacing=(1.0, 2.0), **options)
        )
        expected = 0
        for level, output in enumerate(logits):
            small = F.interpolate(target, size=output.shape[2:], mode="nearest-exact")
            spacing = (1.0 * 2**level, 2.0 * 2**level)
            expected += 0.5**level * loss(radius=4, spacing=spacing, **options)(output, small)
        torch.testing.assert_close(supervised(logits, target), expected)

    def test_other_numbers_of_axes_are_named(self):
        with pytest.raises(ValueError, match="expected as many numbers each"):
            AdaptiveDilatedCELoss(roi_size=(8, 8, 8))(
                torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
            )


def test_a_weight_map_gets_no_gradient():
    """Weights are numbers, in eager and in compiled code."""
    logits = torch.randn(1, 3, 4, 5, generator=torch.manual_seed(0), requires_grad=True)
    weight_map = torch.ones(1, 1, 4, 5, requires_grad=True)
    target = torch.zeros(1, 1, 4, 5)
    AdaptiveDilatedCELoss()(logits, target, weight_map).backward()
    assert weight_map.grad is None
    assert logits.grad.abs().sum() > 0


class TestWeightMap:
    def batch(self, num_classes=3, seed=0):
        generator = torch.manual_seed(seed)
        labels = torch.randint(0, num_classes, (3, 1, 12, 10), generator=generator)
        labels *= torch.rand(labels.shape, generator=generator) < 0.2
        labels[1] = 0  # an image without foreground
        labels[2, 0, :2] = 255
        return torch.randn(3, num_classes, 12, 10, generator=generator), labels

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
    def test_the_loss_is_the_same_as_with_the_volumes_of_each_image(self, reduction, weight):
        logits, labels = self.batch()
        options = {"ignore_index": 255, "weight": weight}
        transform = DilatedBalancedWeights(2, num_classes=3, **options)
        weights = torch.stack([transform(label) for label in labels])
        loss = DilatedBalancedCELoss(2, volumes="image", reduction=reduction, **options)
        torch.testing.assert_close(loss(logits, labels, weights), loss(logits, labels))

    @pytest.mark.parametrize("size", [{}, {"num_voxels": 360}])
    @pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
    @pytest.mark.parametrize("volumes", [[340, 150, 120], [340, 150, 0]])
    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_with_the_volumes_of_the_data_set(self, reduction, volumes, weight, size):
        """For a batch and for one image; with `num_voxels` the loss of the oracles, too."""
        logits, labels = self.batch()
        options = {"volumes": volumes, "ignore_index": 255, "weight": weight, **size}
        transform = DilatedBalancedWeights(2, num_classes=3, **options)
        weights = torch.stack([transform(label) for label in labels])
        loss = DilatedBalancedCELoss(2, reduction=reduction, **options)
        for part in (slice(0, 3), slice(1, 2), slice(2, 3)):
            given = logits[part], labels[part]
            torch.testing.assert_close(loss(*given, weights[part]), loss(*given))
            if size and reduction == "mean":
                expected = oracles.loss(logits[part], labels[part, 0], 2, **options)
                torch.testing.assert_close(loss(*given, weights[part]), expected.float())
        # A loss that does not know the data set scales to mean 1 over the batch.
        loss = DilatedBalancedCELoss(2, volumes=volumes, weight=weight, ignore_index=255)
        torch.testing.assert_close(loss(logits, labels, weights), loss(logits, labels))

    @pytest.mark.parametrize("channels", [1, 2])
    def test_masks_with_the_volumes_of_the_data_set(self, channels):
        target = (torch.rand(3, channels, 9, 8, generator=torch.manual_seed(0)) < 0.2).float()
        target[1, 0], target[2, 0, :2] = 0, -100
        logits = torch.randn(target.shape, generator=torch.manual_seed(1))
        options = {"volumes": [[190.0, 140.0], [170.0, 130.0]][:channels], "num_voxels": 216}
        options["weight"] = [2.0, 0.5][:channels]
        transform = DilatedBalancedWeights(2, num_classes=channels, mode="multilabel", **options)
        weights = torch.stack([transform(label) for label in target])
        loss = DilatedBalancedCELoss(2, sigmoid=True, **options)
        for part in (slice(0, 3), slice(1, 2)):
            given = logits[part], target[part]
            torch.testing.assert_close(loss(*given, weights[part]), loss(*given))

    @pytest.mark.parametrize("volumes", ["image", [[90.0, 40.0], [70.0, 30.0]]])
    @pytest.mark.parametrize("radius", [2, [2, 2], [1, 2], [2, 3]])
    def test_a_radius_per_mask(self, radius, volumes):
        target = (torch.rand(3, 2, 9, 8, generator=torch.manual_seed(0)) < 0.2).float()
        target[1, 0] = 0
        logits = torch.randn(target.shape, generator=torch.manual_seed(1))
        options = {"volumes": volumes}
        transform = DilatedBalancedWeights(radius, num_classes=2, mode="multilabel", **options)
        weights = torch.stack([transform(label) for label in target])
        loss = DilatedBalancedCELoss(radius, sigmoid=True, **options)
        torch.testing.assert_close(loss(logits, target, weights), loss(logits, target))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_masks_that_overlap(self, channels):
        target = (torch.rand(2, channels, 9, 8, generator=torch.manual_seed(0)) < 0.2).float()
        target[1, 0] = 0
        target[0, 0, :3, :3] = -100
        logits = torch.randn(target.shape, generator=torch.manual_seed(1))
        transform = DilatedBalancedWeights(2, num_classes=channels, mode="multilabel")
        weights = torch.stack([transform(label) for label in target])
        loss = DilatedBalancedCELoss(2, sigmoid=True, volumes="image")
        torch.testing.assert_close(loss(logits, target, weights), loss(logits, target))

    def test_one_hot_labels_give_the_map_of_their_indices(self):
        _, labels = self.batch()
        labels = labels.clamp(max=2)
        one_hot = F.one_hot(labels[:, 0], 3).movedim(-1, 1)
        transform = DilatedBalancedWeights([0, 1, 2], num_classes=3)
        for label, channels in zip(labels, one_hot, strict=True):
            torch.testing.assert_close(transform(channels), transform(label))

    def test_is_the_map_of_the_core_but_for_a_factor(self):
        _, labels = self.batch()
        ours = DilatedBalancedWeights(2, num_classes=3, ignore_index=255)(labels[2])
        core = dilated_balanced_weights(labels[2], 2, num_classes=3, ignore_index=255)
        torch.testing.assert_close(ours / ours.sum(), core / core.sum())

    def test_dice_takes_it_too(self):
        logits, labels = self.batch()
        labels = labels.clamp(max=2)
        weights = torch.stack([DilatedBalancedWeights(2, num_classes=3)(y) for y in labels])
        options = {"to_onehot_y": True, "softmax": True}
        loss = DilatedBalancedDiceCELoss(radius=2, volumes="image", **options)
        torch.testing.assert_close(loss(logits, labels, weights), loss(logits, labels))
        weights = torch.stack([AdaptiveDilatedWeights(num_classes=3)(y) for y in labels])
        adaptive = AdaptiveDilatedDiceCELoss(**options)
        torch.testing.assert_close(adaptive(logits, labels, weights), adaptive(logits, labels))

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
    def test_adaptive_weights_are_those_of_the_loss(self, reduction, weight):
        logits, labels = self.batch()
        options = {"ignore_index": 255, "weight": weight}
        weigh = AdaptiveDilatedWeights(num_classes=3, **options)
        weigh_keys = AdaptiveDilatedWeightsd("y", num_classes=3, **options)
        weights = torch.stack([weigh(label) for label in labels])
        by_key = torch.stack([weigh_keys({"y": label})["y_weights"] for label in labels])
        assert torch.equal(weights, by_key)
        loss = AdaptiveDilatedCELoss(reduction=reduction, **options)
        torch.testing.assert_close(loss(logits, labels, weights), loss(logits, labels))

    @pytest.mark.parametrize("make", [list, np.array, torch.tensor])
    def test_numbers_that_the_caller_changes_later_change_nothing(self, make):
        """In transforms and losses alike, whatever holds the numbers."""
        logits, labels = self.batch()
        labels = labels.clamp(max=2)

        def results(radius, volumes, weight):
            options = {"volumes": volumes, "num_voxels": 360, "weight": weight}
            dice = {"to_onehot_y": True, "softmax": True}
            transforms = (
                DilatedBalancedWeights(radius, num_classes=3, **options),
                AdaptiveDilatedWeights(num_classes=3, weight=weight),
            )
            losses = (
                DilatedBalancedCELoss(radius, **options),
                AdaptiveDilatedCELoss(weight=weight),
                DilatedBalancedDiceCELoss(radius=radius, **dice, **options),
                AdaptiveDilatedDiceCELoss(weight=weight, **dice),
            )
            yield None
            yield [transform(labels[0]) for transform in transforms]
            yield [loss(logits, labels) for loss in losses]

        given = [1.0, 2.0, 3.0], make([340.0, 150.0, 120.0]), make([1.0, 2.0, 0.5])
        changed, expected = results(*given), results(*copy.deepcopy(given))
        next(changed)
        for numbers in given:
            numbers[0], numbers[1] = 7.0, 9.0
        next(expected)
        for ours, wanted in zip(changed, expected, strict=True):
            torch.testing.assert_close(ours, wanted, rtol=0, atol=0)

    @pytest.mark.parametrize(
        ("shape", "num_classes", "mode", "message"),
        [
            (
                (1, 2, 3, 4, 5),
                2,
                "multiclass",
                r"label: got shape \(1, 2, 3, 4, 5\), expected \(1,",
            ),
            ((2,), 2, "multiclass", r"label: got shape \(2,\), expected \(1, \*spatial\)"),
            (
                (3, 4, 4),
                2,
                "multiclass",
                r"expected .* or \(2, \*spatial\) with a channel per class",
            ),
            (
                (1, 4, 4),
                2,
                "multilabel",
                r"label: got shape \(1, 4, 4\), expected \(2, \*spatial\)",
            ),
            (
                (1, 4, 4),
                1,
                "multiclass",
                r"num_classes: got 1 with mode='multiclass', expected at l",
            ),
        ],
    )
    def test_labels_that_do_not_fit_are_told_without_logits(
        self, shape, num_classes, mode, message
    ):
        for weigh in (DilatedBalancedWeights, AdaptiveDilatedWeights):
            arguments = [1] if weigh is DilatedBalancedWeights else []
            with pytest.raises(ValueError, match=message) as error:
                weigh(*arguments, num_classes=num_classes, mode=mode)(torch.zeros(shape))
            assert "logits" not in str(error.value)

    def test_one_mask_is_a_channel_of_its_own(self):
        label = torch.zeros(1, 5, 6)
        label[0, 2, 2] = 1
        weights = DilatedBalancedWeights(1, num_classes=1, mode="multilabel")(label)
        core = dilated_balanced_weights(label.long(), 1, num_classes=2)
        torch.testing.assert_close(weights, core)

    @pytest.mark.parametrize("wrong", [-1e-3, -math.inf, math.inf, math.nan])
    @pytest.mark.parametrize("num_voxels", [None, 360])
    def test_a_map_with_a_weight_that_is_none(self, num_voxels, wrong):
        logits, labels = self.batch()
        options = {"volumes": [340, 150, 120], "ignore_index": 255, "num_voxels": num_voxels}
        weights = torch.ones(labels.shape)
        weights[2, 0, 0, 0] = wrong  # an ignored voxel
        losses = DilatedBalancedCELoss(1, **options), AdaptiveDilatedCELoss(ignore_index=255)
        for loss in losses:
            assert loss(logits, labels, weights).isfinite()
        weights[0, 0, 3, 4] = wrong
        for loss in losses:
            with pytest.raises(ValueError, match=r"weight_map: got values from .* expected finite"):
                loss(logits, labels, weights)

    def test_a_transform_knows_no_batch(self):
        with pytest.raises(ValueError, match="volumes: got 'batch', expected 'image'"):
            DilatedBalancedWeights(2, num_classes=3, volumes="batch")

    def test_all_ignored_is_zero(self):
        logits = torch.randn(1, 2, 4, 4, requires_grad=True)
        labels = torch.full((1, 1, 4, 4), -100)
        weights = DilatedBalancedWeights(1, num_classes=2)(labels[0])[None]
        loss = DilatedBalancedCELoss(1)(logits, labels, weights)
        loss.backward()
        assert loss == 0
        assert (logits.grad == 0).all()

    def test_a_map_of_another_shape_is_named(self):
        logits, labels = self.batch()
        with pytest.raises(ValueError, match=r"weight_map: got shape \(3, 3, 12, 10\), expected"):
            AdaptiveDilatedCELoss(ignore_index=255)(logits, labels, torch.ones_like(logits))

    @pytest.mark.parametrize("axes", [2, 3])
    def test_a_radius_in_mm_takes_the_spacing_of_the_image(self, axes):
        spacing = [2.0, 0.5, 1.0][:axes]
        label = torch.zeros(1, 9, 8, 7) if axes == 3 else torch.zeros(1, 9, 8)
        label[0, 4, 4] = 1
        affine = torch.diag(torch.tensor([*spacing, *[1.0] * (4 - axes)]))
        image = MetaTensor(label, affine=affine)
        ours = DilatedBalancedWeights(2.0, num_classes=2, spacing="meta")(image)
        assert isinstance(ours, MetaTensor)
        torch.testing.assert_close(ours.affine, image.affine)
        expected = DilatedBalancedWeights(2.0, num_classes=2, spacing=spacing)(label)
        torch.testing.assert_close(ours.as_tensor(), expected)
        assert not torch.equal(expected, DilatedBalancedWeights(2.0, num_classes=2)(label))

    @pytest.mark.parametrize(
        ("arguments", "label", "error", "message"),
        [
            ({"spacing": "meta"}, torch.zeros(1, 4, 4), TypeError, "expected a MetaTensor"),
            ({"spacing": "mm"}, torch.zeros(1, 4, 4), ValueError, "spacing: got 'mm'"),
            ({"mode": "binary"}, torch.zeros(1, 4, 4), ValueError, "mode: got 'binary'"),
            ({}, torch.zeros(3, 4, 4), ValueError, r"label: got shape \(3, 4, 4\), expected"),
            ({}, torch.zeros(4), ValueError, "EnsureChannelFirstd"),
            ({}, torch.full((1, 4, 4), 7), ValueError, "got label 7, expected 0 ... 1"),
            ({"spacing": (1, 2, 3)}, torch.zeros(1, 4, 4), ValueError, "spacing: got 3 values"),
        ],
    )
    def test_what_it_rejects(self, arguments, label, error, message):
        with pytest.raises(error, match=message):
            DilatedBalancedWeights(1, num_classes=2, **arguments)(label)

    def test_in_the_workers_of_a_data_loader(self):
        label = np.zeros((20, 16, 12), np.uint8)
        label[8:12, 6:9, 4:7] = 1
        affine = np.diag([2.0, 1.0, 1.0, 1.0])
        items = [{"label": MetaTensor(label, affine=affine)} for _ in range(4)]
        transforms = Compose(
            [
                EnsureChannelFirstd("label", channel_dim="no_channel"),
                Spacingd("label", (1.0, 1.0, 1.0), mode="nearest"),
                RandSpatialCropd("label", (16, 16, 8), random_size=False),
                DilatedBalancedWeightsd(
                    ["label", "other"],
                    2.0,
                    num_classes=2,
                    spacing="meta",
                    allow_missing_keys=True,
                ),
            ]
        )
        batch = next(iter(DataLoader(Dataset(items, transforms), batch_size=4, num_workers=2)))
        assert batch["label_weights"].shape == batch["label"].shape == (4, 1, 16, 16, 8)
        logits = torch.randn(4, 2, 16, 16, 8, generator=torch.manual_seed(0))
        loss = DilatedBalancedCELoss(2.0, volumes="image")
        with_map = loss(logits, batch["label"], batch["label_weights"])
        assert type(with_map) is torch.Tensor
        torch.testing.assert_close(with_map, loss(logits, batch["label"]))

    def test_the_key_may_be_named(self):
        transform = DilatedBalancedWeightsd("y", 1, num_classes=2, postfix="map")
        data = {"y": torch.zeros(1, 4, 4), "x": 1}
        assert set(transform(data)) == {"y", "x", "y_map"}
        assert set(data) == {"y", "x"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_metatensors(dtype):
    labels = torch.randint(0, 3, (2, 1, 9, 8), generator=torch.manual_seed(0))
    logits = torch.randn(2, 3, 9, 8, generator=torch.manual_seed(1)).to(dtype)
    loss = DilatedBalancedCELoss(2)
    ours = loss(MetaTensor(logits), MetaTensor(labels.float()))
    assert type(ours) is torch.Tensor
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, loss(logits.float(), labels))
    dilated_balanced_cross_entropy(MetaTensor(logits), MetaTensor(labels), 2)


def test_gradients_reach_metatensors():
    logits = torch.randn(1, 2, 6, 5, requires_grad=True)
    image = MetaTensor(logits * 1)
    target = torch.randint(0, 2, (1, 1, 6, 5))
    AdaptiveDilatedDiceCELoss(to_onehot_y=True, softmax=True)(image, target).backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["DilatedBalancedDiceCELoss", "DilatedBalancedCELoss"])
def test_by_name_in_a_bundle(name):
    target = f"dilated_ce.integrations.monai.{name}"
    config = {"loss": {"_target_": target, "radius": [2, 4], "roi_size": [16, 16]}}
    parser = ConfigParser(
        {**config, "supervised": {"_target_": "DeepSupervisionLoss", "loss": "@loss"}}
    )
    loss = parser.get_parsed_content("supervised")
    outputs = [torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 8, 8)]
    target = torch.zeros(1, 2, 16, 16)
    target[:, 0] = 1
    assert loss(outputs, target).isfinite()


def test_in_the_loss_of_an_auto3dseg_configuration():
    """Its templates write exactly these arguments."""
    parser = ConfigParser(
        {
            "sigmoid": False,
            "loss": {
                "_target_": "dilated_ce.integrations.monai.AdaptiveDilatedDiceCELoss",
                "include_background": True,
                "squared_pred": True,
                "smooth_nr": 0,
                "smooth_dr": 1e-05,
                "softmax": "$not @sigmoid",
                "sigmoid": "$@sigmoid",
                "to_onehot_y": "$not @sigmoid",
            },
            "weights": {
                "_target_": "dilated_ce.integrations.monai.DilatedBalancedWeightsd",
                "keys": "label",
                "radius": 2.0,
                "num_classes": 2,
            },
        }
    )
    target = torch.zeros(1, 1, 8, 8)
    assert parser.get_parsed_content("loss")(torch.zeros(1, 2, 8, 8), target).isfinite()
    assert "label_weights" in parser.get_parsed_content("weights")({"label": target[0]})


def test_copies_and_compilation():
    labels = torch.randint(0, 3, (2, 1, 9, 8), generator=torch.manual_seed(0))
    logits = torch.randn(2, 3, 9, 8, generator=torch.manual_seed(1))
    for loss in (
        DilatedBalancedCELoss(2, roi_size=(9, 8), process_group="world"),
        AdaptiveDilatedCELoss(roi_size=(9, 8), process_group="world"),
        AdaptiveDilatedDiceCELoss(to_onehot_y=True, softmax=True, weight=[1.0, 2.0, 3.0]),
    ):
        expected = loss(logits, labels)
        for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            torch.testing.assert_close(twin(logits, labels), expected)
    torch.compiler.reset()
    for loss in (
        DilatedBalancedCELoss(2, roi_size=(18, 16)),
        AdaptiveDilatedCELoss(roi_size=(18, 16)),
    ):
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(logits, labels), loss(logits, labels))


class Network(torch.nn.Module):
    def __init__(self, criterion):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 3, 1)
        self.criterion = criterion


def test_checkpoints_with_the_weights_of_another_loss_load():
    weights = torch.tensor([1.0, 2.0, 3.0])
    options = {"to_onehot_y": True, "weight": weights}
    losses = [monai.losses.DiceCELoss, monai.losses.DiceFocalLoss, monai.losses.DiceLoss]
    for old in (*losses, monai.losses.FocalLoss, monai.losses.GeneralizedDiceFocalLoss):
        Network(DilatedBalancedCELoss(1)).load_state_dict(Network(old(**options)).state_dict())
    before = Network(DiceCELoss(to_onehot_y=True, softmax=True, weight=weights))
    for weight in (None, [1.0, 1.0, 2.0]):
        for loss in (
            DilatedBalancedDiceCELoss(to_onehot_y=True, softmax=True, radius=1, weight=weight),
            AdaptiveDilatedDiceCELoss(to_onehot_y=True, softmax=True, weight=weight),
            DilatedBalancedCELoss(1, weight=weight),
        ):
            assert not loss.state_dict()
            after = Network(loss)
            after.load_state_dict(before.state_dict())
            torch.testing.assert_close(after.layer.weight, before.layer.weight)
            for name in ("criterion.head.bias", "criterion.0.weight", "criterion.dice.weight"):
                with pytest.raises(RuntimeError, match=re.escape(name)):
                    after.load_state_dict({**before.state_dict(), name: weights})


def test_the_scale_of_a_map_means_nothing():
    logits = torch.randn(2, 2, 6, 5, generator=torch.manual_seed(0))
    labels = torch.randint(0, 2, (2, 1, 6, 5), generator=torch.manual_seed(1))
    weights = torch.rand(2, 1, 6, 5, generator=torch.manual_seed(2))
    loss = AdaptiveDilatedCELoss()
    values = [loss(logits, labels, weights * factor) for factor in (1e-6, 1.0, 1e6)]
    expected = (
        weights[:, 0] * F.cross_entropy(logits, labels[:, 0], reduction="none")
    ).sum() / weights.sum()
    for value in values:
        torch.testing.assert_close(value, expected)


def check_process(rank, port):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    generator = torch.manual_seed(0)
    labels = torch.randint(0, 3, (4, 1, 9, 8), generator=generator)
    labels[:2, 0, :, :4] = 0
    labels[2:, 0, 3:] = -100
    logits = torch.randn(4, 3, 9, 8, dtype=torch.float64, generator=generator)
    mine = slice(0, 3) if rank == 0 else slice(3, 4)
    for sigmoid in (False, True):
        mode = "multilabel" if sigmoid else "multiclass"
        masks = torch.cat([torch.where(labels < 0, labels, labels == c) for c in range(3)], dim=1)
        target = masks if sigmoid else labels
        transform = DilatedBalancedWeights(2, num_classes=3, mode=mode)
        weights = torch.stack([transform(label) for label in target])
        gradients = []
        for part, group in ((slice(None), None), (mine, "world")):
            loss = DilatedBalancedCELoss(2, sigmoid=sigmoid, process_group=group)
            for maps in (None, weights[part]):
                input = logits[part].clone().requires_grad_()
                loss(input, target[part], maps).backward()
                gradients.append(input.grad)
        # DistributedDataParallel averages over the processes.
        torch.testing.assert_close(gradients[2] / 2, gradients[0][mine])
        torch.testing.assert_close(gradients[3] / 2, gradients[1][mine])
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")
def test_two_processes_give_the_gradient_of_one(free_port):
    mp.spawn(check_process, args=(free_port,), nprocs=2)
