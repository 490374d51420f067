"""What a target means: masks that overlap, one output channel, and probabilities."""

import inspect
import math
import re

import numpy as np
import oracles
import pytest
import strategies
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from losses import LOSSES, MODULES, WEIGHTS

from dilated_ce import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    adaptive_dilated_cross_entropy,
    dilate_labels,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)
from dilated_ce.target import plain

both = pytest.mark.parametrize("name", LOSSES)


@st.composite
def masks(draw):
    """A multi-label target (B, C, *spatial) of 0, 1 and perhaps 255, with logits for it."""
    ndim = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 7)] * ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target = (rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))).astype(np.int64)
    ignore_index = draw(st.sampled_from([None, 255, -100]))
    if ignore_index is not None:
        target[rng.random(shape) < draw(st.sampled_from([0.1, 0.6, 1.0]))] = ignore_index
    return torch.from_numpy(target), torch.from_numpy(rng.normal(size=shape)), ignore_index


def channel_maps(target, radii, ignore_index, **options):
    """The weight map of each channel, from the definition; without `radii` adaptive."""
    volumes = options.pop("volumes", "batch")
    maps = []
    for c in range(target.shape[1]):
        labels = target[:, c].numpy()
        if radii is None:
            maps.append(oracles.adaptive_weights(labels, 2, ignore_index=ignore_index, **options))
            continue
        own = volumes if isinstance(volumes, str) else volumes[c]
        maps.append(
            oracles.balanced_weights(
                labels, radii[c], 2, ignore_index=ignore_index, volumes=own, **options
            )
        )
    return torch.from_numpy(np.stack(maps, axis=1))


class TestMultilabel:
    def check(self, case, weights, **options):
        """All reductions are those of the weighted binary cross entropy."""
        target, logits, ignore_index = case
        valid = torch.from_numpy(oracles.valid_voxels(target.numpy(), ignore_index))
        truth = torch.where(valid, target, 0).double()
        expected = weights * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        loss = dilated_balanced_cross_entropy
        loss = loss if "radius" in options else adaptive_dilated_cross_entropy
        options |= {"mode": "multilabel", "ignore_index": ignore_index}
        for reduction, wanted in (
            ("none", expected),
            ("sum", expected.sum()),
            ("mean", expected.sum() / max(int(valid.sum()), 1)),
        ):
            ours = loss(logits, target, reduction=reduction, **options)
            torch.testing.assert_close(ours, wanted)

    @given(case=masks(), data=st.data())
    def test_balanced_equals_the_formula(self, case, data):
        target, _, ignore_index = case
        one = data.draw(strategies.radii())
        radius = data.draw(
            st.sampled_from([one, [one, *[data.draw(strategies.radii())] * (target.shape[1] - 1)]])
        )
        options = {
            "volumes": data.draw(st.sampled_from(oracles.SCOPES)),
            "spacing": data.draw(strategies.spacings(target.ndim - 2)),
        }
        radii = radius if isinstance(radius, list) else [radius] * target.shape[1]
        weights = channel_maps(target, radii, ignore_index, **options)
        self.check(case, weights, radius=radius, **options)

    @given(case=masks())
    def test_adaptive_equals_the_formula(self, case):
        target, _, ignore_index = case
        self.check(case, channel_maps(target, None, ignore_index))

    @pytest.mark.parametrize("weight", [2.5, [0.0, 3.0, 0.5]])
    def test_a_weight_of_the_foreground_of_each_channel(self, weight):
        target = (torch.rand(2, 3, 9, 8, generator=torch.manual_seed(0)) < 0.2).long()
        logits = torch.randn(target.shape, dtype=torch.float64, generator=torch.manual_seed(1))
        each = weight if isinstance(weight, list) else [weight] * 3
        for radius in (None, 1):
            maps = [
                channel_maps(target[:, [c]], radius and [radius], None, weight=[1.0, each[c]])
                for c in range(3)
            ]
            options = {} if radius is None else {"radius": radius}
            case = target, logits, None
            self.check(case, torch.cat(maps, 1), weight=weight, **options)

    def test_infinite_radius_is_plain_binary_cross_entropy(self):
        target = torch.arange(2 * 3 * 6 * 5).view(2, 3, 6, 5) % 2
        logits = torch.randn(target.shape, generator=torch.manual_seed(0))
        ours = dilated_balanced_cross_entropy(logits, target, math.inf, mode="multilabel")
        expected = F.binary_cross_entropy_with_logits(logits, target.float())
        torch.testing.assert_close(ours, expected)

    def test_volumes_of_the_data_set(self):
        target = (torch.rand(2, 2, 6, 5, generator=torch.manual_seed(0)) < 0.2).long()
        logits = torch.randn(target.shape, dtype=torch.float64, generator=torch.manual_seed(1))
        volumes = [[300.0, 40.0], [310.0, 0.0]]
        weights = channel_maps(target, [1, 1], None, volumes=volumes)
        for given_volumes in (volumes, torch.tensor(volumes)):
            ours = dilated_balanced_cross_entropy(
                logits, target, 1, mode="multilabel", volumes=given_volumes, reduction="none"
            )
            expected = F.binary_cross_entropy_with_logits(
                logits, target.double(), weights, reduction="none"
            )
            torch.testing.assert_close(ours, expected)

    def test_radius_zero_with_a_weight_is_pos_weight_over_the_balance(self):
        target = (torch.rand(3, 2, 6, 5, generator=torch.manual_seed(0)) < 0.3).float()
        logits = torch.randn(target.shape, generator=torch.manual_seed(1))
        importance = [2.0, 0.5]
        per_channel = []
        for c in range(2):
            z, y = logits[:, c], target[:, c]
            losses = F.binary_cross_entropy_with_logits(z, y, reduction="none")
            foreground, background = losses[y == 1].mean(), losses[y == 0].mean()
            share = importance[c]
            per_channel.append((share * foreground + background) / (share + 1))
        ours = dilated_balanced_cross_entropy(
            logits, target, 0, mode="multilabel", weight=importance
        )
        torch.testing.assert_close(ours, torch.stack(per_channel).mean())

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.float16])
    def test_dtypes_of_the_target(self, dtype):
        target = (torch.rand(2, 3, 6, 5, generator=torch.manual_seed(0)) < 0.3).to(dtype)
        logits = torch.randn(target.shape, generator=torch.manual_seed(1))
        expected = dilated_balanced_cross_entropy(logits, target.long(), 2, mode="multilabel")
        ours = dilated_balanced_cross_entropy(logits, target, 2, mode="multilabel")
        assert ours == expected

    def test_nothing_but_numbers_where_an_ignored_entry_is_not_finite(self):
        target = torch.zeros(1, 2, 4, 4)
        target[0, 0, 1, 1] = 1
        target[0, 1, 2, 2] = -100
        logits = torch.zeros(1, 2, 4, 4)
        logits[0, 1, 2, 2] = math.inf
        for radius in (1, [1, 2], [2, 1]):
            leaf = logits.clone().requires_grad_()
            loss = dilated_balanced_cross_entropy(leaf, target, radius, mode="multilabel")
            torch.testing.assert_close(loss, torch.tensor(math.log(2)))
            (gradient,) = torch.autograd.grad(loss, leaf)
            assert gradient.isfinite().all()
            assert gradient[0, 1, 2, 2] == 0

    def test_ignored_entries_of_a_target_with_channels_last(self):
        target = torch.randint(0, 2, (2, 3, 5, 6), generator=torch.manual_seed(0))
        target[:, :, 1:3, 2] = -100
        logits = torch.randn(target.shape, generator=torch.manual_seed(1))
        last = target.to(memory_format=torch.channels_last)
        for radius in (2, [1, 2, 2]):
            expected = dilated_balanced_cross_entropy(logits, target, radius, mode="multilabel")
            ours = dilated_balanced_cross_entropy(logits, last, radius, mode="multilabel")
            torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 2, 4, 4)])
    def test_nothing_valid_is_zero(self, shape, reduction):
        logits = torch.randn(shape, requires_grad=True)
        target = torch.full(shape, -100)
        loss = dilated_balanced_cross_entropy(
            logits, target, 1, mode="multilabel", reduction=reduction
        )
        assert (loss == 0).all()
        loss.sum().backward()
        assert (logits.grad == 0).all()

    @pytest.mark.parametrize(
        ("options", "value", "message"),
        [
            ({}, 2, "target: got a value of 2, expected 0 to 1 or ignore_index=-100"),
            ({"ignore_index": None}, -0.5, "target: got a value of -0.5, expected 0 to 1. Div"),
            ({"ignore_index": 255}, math.nan, "target: got a value of nan"),
        ],
    )
    def test_wrong_values(self, options, value, message):
        target = torch.zeros(1, 2, 4, 4)
        target[0, 1, 2, 3] = value
        with pytest.raises(ValueError, match=message):
            dilated_balanced_cross_entropy(
                torch.zeros(1, 2, 4, 4), target, 1, mode="multilabel", **options
            )


class TestBinary:
    @given(case=masks(), radius=strategies.radii(), name=st.sampled_from(list(LOSSES)))
    def test_is_multiclass_with_a_second_output_of_zero(self, case, radius, name):
        target, logits, ignore_index = case
        target, logits = target[:, :1], logits[:, :1]
        options = {"ignore_index": ignore_index}
        if name != "adaptive":
            options["radius"] = radius
        both = torch.cat([torch.zeros_like(logits), logits], dim=1)
        expected = LOSSES[name](both, target, **options)
        for shape in (target, target[:, 0]):  # with and without the channel axis
            ours = LOSSES[name](logits, shape, mode="binary", **options)
            torch.testing.assert_close(ours, expected)

    def test_volumes(self):
        target = (torch.rand(2, 6, 5, generator=torch.manual_seed(0)) < 0.2).long()
        logits = torch.randn(2, 1, 6, 5, generator=torch.manual_seed(1))
        both = torch.cat([torch.zeros_like(logits), logits], dim=1)
        ours = DilatedBalancedCELoss(2, mode="binary", volumes=[300, 50])(logits, target)
        expected = DilatedBalancedCELoss(2, volumes=[300, 50])(both, target)
        torch.testing.assert_close(ours, expected)

    @both
    def test_label_smoothing_is_that_of_two_classes(self, name):
        target = (torch.rand(2, 6, 5, generator=torch.manual_seed(0)) < 0.2).long()
        logits = torch.randn(2, 1, 6, 5, generator=torch.manual_seed(1))
        both = torch.cat([torch.zeros_like(logits), logits], dim=1)
        ours = LOSSES[name](logits, target, mode="binary", label_smoothing=0.2)
        expected = LOSSES[name](both, target, label_smoothing=0.2)
        torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize(
        ("mode", "channels", "shape", "message"),
        [
            ("binary", 2, (1, 4, 4), "2 channels, expected 1 in mode='binary'"),
            ("binary", 1, (1, 5, 4), "got shape (1, 5, 4), expected (1, 4, 4) or (1, 1, 4, 4)"),
            ("multilabel", 2, (1, 1, 4, 4), "expected (1, 2, 4, 4)"),
            ("multilabel", 0, (1, 0, 4, 4), "(1, 0, 4, 4), expected a channel at least"),
            ("multilabel", 2, (1, 4, 4), "expected (1, 2, 4, 4)"),
            ("multiclass", 1, (1, 4, 4), "use mode='binary'"),
            ("panoptic", 2, (1, 4, 4), "expected 'multiclass' or 'multilabel' or 'binary'"),
        ],
    )
    def test_what_does_not_fit(self, mode, channels, shape, message):
        logits = torch.zeros(1, channels, 4, 4)
        target = torch.zeros(shape, dtype=torch.long)
        for loss in LOSSES.values():
            with pytest.raises(ValueError, match=re.escape(message)):
                loss(logits, target, mode=mode)


class TestSoftTargets:
    def soft(self, num_classes=3):
        generator = torch.manual_seed(0)
        labels = torch.randint(0, num_classes, (2, 7, 6), generator=generator)
        noise = torch.rand(2, num_classes, 7, 6, generator=generator, dtype=torch.float64)
        one_hot = F.one_hot(labels, num_classes).movedim(-1, 1)
        return labels, one_hot, 0.7 * one_hot + 0.3 * noise / noise.sum(1, keepdim=True)

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_masks_of_the_most_probable_class_and_the_cross_entropy_of_all(self, reduction):
        labels, _, probabilities = self.soft()
        logits = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.manual_seed(1))
        weights = torch.from_numpy(oracles.balanced_weights(labels.numpy(), 1.5, 3))
        expected = weights * -(probabilities * logits.log_softmax(1)).sum(1)
        expected = {"mean": expected.mean(), "sum": expected.sum(), "none": expected}[reduction]
        ours = dilated_balanced_cross_entropy(logits, probabilities, 1.5, reduction=reduction)
        torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_the_adaptive_loss_of_probabilities(self, reduction):
        labels, _, probabilities = self.soft()
        logits = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.manual_seed(1))
        weights = torch.from_numpy(oracles.adaptive_weights(labels.numpy(), 3))
        expected = weights * -(probabilities * logits.log_softmax(1)).sum(1)
        expected = {"mean": expected.mean(), "sum": expected.sum(), "none": expected}[reduction]
        ours = adaptive_dilated_cross_entropy(logits, probabilities, reduction=reduction)
        torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.float32])
    @both
    def test_one_hot_is_the_same_as_indices(self, name, dtype):
        labels, one_hot, _ = self.soft()
        logits = torch.randn(2, 3, 7, 6, generator=torch.manual_seed(1))
        ours = LOSSES[name](logits, one_hot.to(dtype), label_smoothing=0.1)
        expected = LOSSES[name](logits, labels, label_smoothing=0.1)
        torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize("unlabelled", [0, 255])
    @both
    def test_voxels_without_a_class_are_ignored(self, name, unlabelled):
        labels, one_hot, _ = self.soft()
        one_hot[:, :, :3, 2] = unlabelled
        labels[:, :3, 2] = 255
        logits = torch.randn(2, 3, 7, 6, generator=torch.manual_seed(1))
        logits[0, 0, 0, 2] = math.inf
        ours = MODULES[name](ignore_index=255)(logits, one_hot.float())
        expected = MODULES[name](ignore_index=255)(logits, labels)
        torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize("voxel", [[0.49, 0.49], [0.51, 0.51], [-0.5, 1.5], [0.5, 0.0]])
    def test_what_is_no_probability(self, voxel):
        target = torch.full((1, 2, 3), 0.5, dtype=torch.float64)
        target[0, :, 1] = torch.tensor(voxel)
        with pytest.raises(ValueError, match=f"add up to {sum(voxel):g}, or are negative"):
            dilated_balanced_cross_entropy(torch.zeros(1, 2, 3), target, 1)

    def test_probabilities_need_not_add_up_exactly(self):
        logits = torch.zeros(1, 2, 2, dtype=torch.float64)
        target = torch.tensor([[[0.3, 0.708], [0.692, 0.3]]]).movedim(1, 2).double()
        loss = dilated_balanced_cross_entropy(logits, target, 1)
        assert loss.item() == pytest.approx(math.log(2), abs=1e-2)

    @pytest.mark.parametrize("ignore_index", [0, 1])
    def test_a_voxel_is_ignored_where_all_its_probabilities_say_so(self, ignore_index):
        _, one_hot, _ = self.soft()
        logits = torch.randn(2, 3, 7, 6, generator=torch.manual_seed(1))
        ours = dilated_balanced_cross_entropy(logits, one_hot, 2, ignore_index=ignore_index)
        assert ours == dilated_balanced_cross_entropy(logits, one_hot, 2, ignore_index=None)

    @pytest.mark.parametrize(("ignore_index", "kept"), [(0, 1), (1, 0)])
    def test_an_ignored_value_may_be_0_or_1(self, ignore_index, kept):
        target = (torch.rand(1, 2, 5, 5, generator=torch.manual_seed(0)) < 0.3).float()
        logits = torch.randn(target.shape, generator=torch.manual_seed(1))
        ours = dilated_balanced_cross_entropy(
            logits, target, math.inf, mode="multilabel", ignore_index=ignore_index
        )
        valid = target == kept
        expected = F.binary_cross_entropy_with_logits(logits[valid], target[valid])
        torch.testing.assert_close(ours, expected)

    def test_one_half_is_background(self):
        target = torch.tensor([[[0.5, 0.5 + 1e-12, 0.5, 0.0]]], dtype=torch.float64)
        logits = torch.zeros(1, 1, 4)
        loss = dilated_balanced_cross_entropy(logits, target, 0, mode="binary", reduction="none")
        assert (loss / math.log(2)).flatten().tolist() == pytest.approx([2 / 3, 2, 2 / 3, 2 / 3])

    def test_multilabel_masks_hold_what_is_above_one_half(self):
        target = torch.rand(2, 3, 7, 6, dtype=torch.float64, generator=torch.manual_seed(0))
        logits = torch.randn(target.shape, dtype=torch.float64, generator=torch.manual_seed(1))
        weights = channel_maps((target > 0.5).long(), [2] * 3, None)
        expected = F.binary_cross_entropy_with_logits(logits, target, weights)
        ours = dilated_balanced_cross_entropy(logits, target, 2, mode="multilabel")
        torch.testing.assert_close(ours, expected)


class TestDataSetVolumes:
    """With the size of the data set given, weights depend on nothing else in the batch."""

    labels = torch.randint(0, 3, (8, 9, 8), generator=torch.manual_seed(0)) * (
        torch.rand(8, 9, 8, generator=torch.manual_seed(1)) < 0.2
    )
    volumes = dilate_labels(labels, 1, num_classes=3).sum((0, 2, 3))

    @pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
    def test_gradient_accumulation_is_exact(self, weight):
        criterion = DilatedBalancedCELoss(
            1, volumes=self.volumes, num_voxels=self.labels.numel(), weight=weight
        )
        logits = torch.randn(8, 3, 9, 8, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(criterion(logits, self.labels), logits)
        parts = zip(logits.split(2), self.labels.split(2), strict=True)
        loss = sum(criterion(z, y) / 4 for z, y in parts)
        (accumulated,) = torch.autograd.grad(loss, logits)
        torch.testing.assert_close(accumulated, expected)

    def test_the_mean_over_the_data_set_is_one(self):
        weights = dilated_balanced_weights(
            self.labels, 1, num_classes=3, volumes=self.volumes, num_voxels=self.labels.numel()
        )
        torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
        part = dilated_balanced_weights(
            self.labels[:2], 1, num_classes=3, volumes=self.volumes, num_voxels=self.labels.numel()
        )
        torch.testing.assert_close(part, weights[:2])

    def test_the_size_counts_in_double_precision(self):
        logits = torch.randn(8, 3, 9, 8, dtype=torch.float64)
        of_800, of_600 = (
            dilated_balanced_cross_entropy(
                logits, self.labels, 1, volumes=self.volumes, num_voxels=size
            ).item()
            for size in (800, 600)
        )
        assert of_800 / of_600 == pytest.approx(8 / 6, rel=1e-14)

    def test_a_data_set_in_which_nothing_counts_has_the_loss_0(self):
        logits, labels = torch.randn(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
        labels[0, 0, 0] = 1
        given = {"volumes": [16, 0], "weight": [0, 1]}
        for size in ({}, {"num_voxels": 16}):
            assert dilated_balanced_cross_entropy(logits, labels, 1, **given, **size) == 0

    def test_a_channel_that_the_data_set_does_not_label_takes_no_part(self):
        logits, target = torch.randn(2, 2, 4, 4), torch.zeros(2, 2, 4, 4)
        target[:, :, 0, 0] = 1
        given = {"mode": "multilabel", "volumes": [[0, 0], [30, 2]]}
        expected, found = (
            dilated_balanced_cross_entropy(logits, target, 0, **given, **size)
            for size in ({}, {"num_voxels": 32})
        )
        torch.testing.assert_close(found, expected)

    def test_per_channel(self):
        target = (self.labels[:, None] == torch.arange(1, 3).view(2, 1, 1)).long()
        foreground = dilate_labels(target.flatten(0, 1), 1, num_classes=2).sum((2, 3))
        volumes = foreground.view(8, 2, 2).sum(0)
        logits = torch.randn(8, 2, 9, 8, dtype=torch.float64)
        for radius in (1, [1, 1]):
            criterion = DilatedBalancedCELoss(
                radius, mode="multilabel", volumes=volumes, num_voxels=self.labels.numel()
            )
            whole = DilatedBalancedCELoss(radius, mode="multilabel")(logits, target)
            torch.testing.assert_close(criterion(logits, target), whole)
            parts = zip(logits.split(2), target.split(2), strict=True)
            torch.testing.assert_close(sum(criterion(z, y) / 4 for z, y in parts), whole)


class TestA255Mask:
    """A mask stored as 0 and 255 that nobody divided, in every place where one may land."""

    mask = (torch.rand(2, 1, 16, 16, generator=torch.manual_seed(0)) > 0.8).float() * 255
    logits = torch.randn(2, 3, 16, 16, generator=torch.manual_seed(1))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.int16])
    @both
    def test_as_class_indices(self, name, dtype):
        target = self.mask[:, 0].to(dtype)
        message = r"target: got label 255, expected .* divide by 255: target // 255\."
        with pytest.raises(ValueError, match=message):
            LOSSES[name](self.logits, target)
        with pytest.raises(ValueError, match=r"labels: .* divide by 255: labels // 255\."):
            WEIGHTS[name](target, num_classes=2)
        with pytest.raises(ValueError, match=r"labels: .* divide by 255: labels // 255\."):
            dilate_labels(target, 2, num_classes=2)
        loss = LOSSES[name](self.logits, target // 255)  # as the hint says
        assert loss.isfinite()

    @both
    def test_other_labels_get_another_hint(self, name):
        target = self.mask[:, 0].long()
        target[0, 0, 0] = 7
        with pytest.raises(ValueError, match=r"got labels 7, 255, .* Check the number of"):
            LOSSES[name](self.logits, target)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64, torch.float16])
    @pytest.mark.parametrize("mode", ["binary", "multilabel"])
    @both
    def test_as_masks(self, name, mode, dtype):
        channels = 1 if mode == "binary" else 3
        target = self.mask.expand(-1, channels, -1, -1).to(dtype)
        logits = self.logits[:, :channels]
        for options in ({}, {"ignore_index": None}):
            with pytest.raises(ValueError, match=r"got a value of 255, .*0 and 255 by 255"):
                LOSSES[name](logits, target, mode=mode, **options)
            with pytest.raises(ValueError, match=r"got a value of 255, .*0 and 255 by 255"):
                MODULES[name](mode=mode, **options)(logits, target)
        assert LOSSES[name](logits, target / 255, mode=mode).isfinite()

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    @both
    def test_as_one_hot(self, name, dtype):
        target = torch.cat([255 - self.mask, self.mask], dim=1).to(dtype)
        with pytest.raises(ValueError, match=r"add up to 255, .*0 and 255 has to be divided by 25"):
            LOSSES[name](self.logits[:, :2], target)
        assert LOSSES[name](self.logits[:, :2], target / 255).isfinite()

    def test_no_hint_names_an_argument_that_is_not_there(self):
        """Of either loss, as far as messages name arguments in the form `name=`."""
        names = set(inspect.signature(adaptive_dilated_cross_entropy).parameters)
        for loss in (adaptive_dilated_cross_entropy, AdaptiveDilatedCELoss()):
            for logits, target in (
                (self.logits, self.mask[:, 0].long()),
                (self.logits, self.mask.expand(-1, 3, -1, -1)),
                (self.logits[:, :1], self.mask),
                (self.logits[0], self.mask[0]),
                (self.logits, self.mask[:, 0]),
            ):
                with pytest.raises((ValueError, TypeError)) as error:
                    loss(logits, target)
                assert set(re.findall(r"(\w+)=", str(error.value))) <= names


@given(case=strategies.label_maps(min_classes=2), radius=strategies.radii(), seed=st.integers(0, 9))
def test_radius_zero_with_a_weight_per_class_is_weighted_balanced_cross_entropy(case, radius, seed):
    shape = (len(case.labels), case.num_classes, *case.labels.shape[1:])
    logits = torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))
    weight = torch.rand(case.num_classes, dtype=torch.float64) + 0.1
    options = {"ignore_index": case.ignore_index, "weight": weight}
    ignore_index = -100 if case.ignore_index is None else case.ignore_index
    valid = case.labels[case.labels != ignore_index]
    counts = torch.bincount(valid, minlength=case.num_classes)
    if len(valid) == 0:
        return
    balanced = F.cross_entropy(
        logits,
        case.labels,
        weight=torch.where(counts > 0, weight / counts, 0),
        ignore_index=ignore_index,
    )
    ours = dilated_balanced_cross_entropy(logits, case.labels, 0, **options)
    torch.testing.assert_close(ours, balanced)
    # One importance for all changes nothing, at any radius.
    options["weight"] = [3.0] * case.num_classes
    ours = dilated_balanced_cross_entropy(logits, case.labels, radius, **options)
    del options["weight"]
    expected = dilated_balanced_cross_entropy(logits, case.labels, radius, **options)
    torch.testing.assert_close(ours, expected)


def test_a_subclass_loses_its_name_unless_it_computes_by_itself():
    class Named(torch.Tensor):
        """As MONAI's MetaTensor: metadata, and the operations of a tensor."""

    class Lazy(torch.Tensor):
        """As FakeTensor: operations of its own."""

        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            raise NotImplementedError

    numbers = torch.rand(3)
    assert type(plain(numbers.as_subclass(Named))) is torch.Tensor
    lazy = torch.Tensor._make_subclass(Lazy, numbers)
    assert plain(lazy) is lazy
    assert plain(numbers) is numbers
