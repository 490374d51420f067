"""Both losses against what defines them, and as PyTorch's users use them."""

import copy
import math
import pickle
import re

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import strategies
import torch
import torch.nn.functional as F
from hypothesis import given
from losses import LOSSES, MODULES, WEIGHTS
from torch._subclasses.fake_tensor import FakeTensorMode

from dilated_ce import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    adaptive_dilated_cross_entropy,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)

both = pytest.mark.parametrize("name", LOSSES)


def random_logits(labels, num_classes, seed=0, **options):
    shape = (labels.shape[0], num_classes, *labels.shape[1:])
    return torch.randn(shape, generator=torch.manual_seed(seed), **options)


def some_labels(shape=(2, 8, 8), num_classes=3, ignored=0):
    labels = torch.randint(0, num_classes, shape, generator=torch.manual_seed(0))
    labels.view(-1)[:ignored] = -100
    return labels


class TestOracles:
    """The eight statements that define the losses."""

    @given(case=strategies.label_maps(min_classes=2), seed=st.integers(0, 1000))
    def test_1_radius_zero_is_balanced_cross_entropy(self, case, seed):
        logits = random_logits(case.labels, case.num_classes, seed, dtype=torch.float64)
        ignore_index = -100 if case.ignore_index is None else case.ignore_index
        ours = dilated_balanced_cross_entropy(
            logits, case.labels, 0, ignore_index=case.ignore_index
        )
        if (case.labels == ignore_index).all():
            assert ours == 0
        else:
            torch.testing.assert_close(
                ours, oracles.balanced_cross_entropy(logits, case.labels, ignore_index)
            )

    @given(
        shape=st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9)),
        num_classes=st.integers(2, 10),
        volumes=st.sampled_from(oracles.SCOPES),
        infinite=st.booleans(),
    )
    def test_2_infinite_radius_is_plain_cross_entropy(self, shape, num_classes, volumes, infinite):
        # every class present in every image
        pixels = shape[1] * shape[2]
        num_classes = min(num_classes, pixels)
        labels = (torch.arange(pixels) % num_classes).view(1, *shape[1:]).repeat(shape[0], 1, 1)
        radius = math.inf if infinite else math.hypot(shape[1] - 1, shape[2] - 1)
        logits = random_logits(labels, num_classes, dtype=torch.float64)
        ours = dilated_balanced_cross_entropy(logits, labels, radius, volumes=volumes)
        torch.testing.assert_close(ours, F.cross_entropy(logits, labels))

    @given(st.data())
    def test_3_the_loss_is_that_of_the_exact_ball(self, data):
        case = data.draw(strategies.label_maps(min_classes=2))
        options = {
            "spacing": data.draw(strategies.spacings(case.labels.ndim - 1)),
            "volumes": data.draw(st.sampled_from(oracles.SCOPES)),
            "ignore_index": case.ignore_index,
        }
        radius = data.draw(strategies.radii())
        logits = random_logits(case.labels, case.num_classes)
        ours = dilated_balanced_cross_entropy(logits, case.labels, radius, **options)
        reference = oracles.loss(logits, case.labels, radius, **options)
        torch.testing.assert_close(ours.double(), reference, rtol=1e-5, atol=1e-6)

    @given(
        case=strategies.label_maps(min_classes=2),
        radius=strategies.radii(),
        name=st.sampled_from(list(LOSSES)),
        seed=st.integers(0, 1000),
    )
    def test_4_symmetries_change_nothing(self, case, radius, name, seed):
        labels, ignore_index = case.labels, case.ignore_index
        logits = random_logits(labels, case.num_classes, dtype=torch.float64)
        options = {} if name == "adaptive" else {"radius": radius}

        def loss(logits, labels):
            return LOSSES[name](logits, labels, ignore_index=255, **options)

        if ignore_index is not None:  # away from the classes, which are permuted below
            labels = torch.where(labels == ignore_index, 255, labels)
        expected = loss(logits, labels)

        classes = torch.randperm(case.num_classes, generator=torch.manual_seed(seed))
        renamed = torch.where(labels == 255, 255, classes[labels.clamp(max=len(classes) - 1)])
        assert_same(loss(logits[:, classes.argsort()], renamed), expected)

        order = torch.randperm(len(labels), generator=torch.manual_seed(seed))
        assert_same(loss(logits[order], labels[order]), expected)

        for axis in range(1, labels.ndim):
            assert_same(loss(logits.flip(axis + 1), labels.flip(axis)), expected)
        if labels.ndim > 2:
            turned = loss(logits.rot90(1, (-2, -1)), labels.rot90(1, (-2, -1)))
            assert_same(turned, expected)

    @both
    def test_5_weights_carry_no_gradient(self, name):
        labels = some_labels()
        logits = random_logits(labels, 3, requires_grad=True)
        weights = WEIGHTS[name](labels, num_classes=3)
        assert not weights.requires_grad
        (ours,) = torch.autograd.grad(LOSSES[name](logits, labels), logits)
        constant = (weights * F.cross_entropy(logits, labels, reduction="none")).mean()
        (expected,) = torch.autograd.grad(constant, logits)
        torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @both
    def test_5_half_precision_is_computed_in_float32(self, name, dtype):
        labels = some_labels((2, 33, 33))
        logits = random_logits(labels, 3).to(dtype).requires_grad_()
        exact = LOSSES[name](logits.detach().double(), labels)
        for context in (torch.autocast("cpu", dtype), torch.autocast("cpu", enabled=False)):
            with context:
                loss = LOSSES[name](logits, labels)
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert gradient.dtype == dtype
            assert gradient.isfinite().all()

    # Oracle 6, many processes: test_distributed.py

    @given(
        case=strategies.label_maps(min_classes=2),
        radius=strategies.radii(),
        name=st.sampled_from(list(LOSSES)),
    )
    def test_7_reductions_agree(self, case, radius, name):
        logits = random_logits(case.labels, case.num_classes, dtype=torch.float64)
        options = {"ignore_index": case.ignore_index}
        if name != "adaptive":
            options["radius"] = radius
        mean, total, voxels = (
            LOSSES[name](logits, case.labels, reduction=reduction, **options)
            for reduction in ("mean", "sum", "none")
        )
        assert voxels.shape == case.labels.shape
        valid = torch.from_numpy(oracles.valid_voxels(case.labels.numpy(), case.ignore_index))
        torch.testing.assert_close(voxels.sum(), total)
        if valid.any():
            torch.testing.assert_close(voxels[valid].mean(), mean)

    @given(st.data())
    def test_8_the_adaptive_loss_is_that_of_its_formula(self, data):
        case = data.draw(strategies.label_maps(min_classes=2))
        options = {"ignore_index": case.ignore_index}
        logits = random_logits(case.labels, case.num_classes)
        ours = adaptive_dilated_cross_entropy(logits, case.labels, **options)
        reference = oracles.adaptive_loss(logits, case.labels, **options)
        torch.testing.assert_close(ours.double(), reference, rtol=1e-5, atol=1e-6)

    # Oracle 8, continuous, bounded in cost, and without waits: test_growth.py, test_accelerators.py


def assert_same(ours, expected):
    """Alike but for the order in which float32 weights are added up."""
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-7)


def test_batch_volumes_give_the_mean_over_classes_of_their_neighbourhoods():
    labels = torch.randint(0, 3, (2, 9, 9), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3, dtype=torch.float64)
    voxels = F.cross_entropy(logits, labels, reduction="none")
    masks = torch.from_numpy(oracles.dilated_masks(labels, 1, 3))
    expected = torch.stack([voxels[masks[:, c]].mean() for c in range(3)]).mean()
    torch.testing.assert_close(dilated_balanced_cross_entropy(logits, labels, 1), expected)


def test_numbers_are_as_wide_as_they_are_written():
    labels = some_labels()
    logits = random_logits(labels, 3)
    options = {"volumes": [1e6, 300000.0, 80001.0], "num_voxels": 1.2e6, "weight": [1.1, 0.3, 2.7]}
    expected = dilated_balanced_cross_entropy(logits, labels, 2, **options)
    torch.set_default_dtype(torch.float16)
    try:
        assert dilated_balanced_cross_entropy(logits, labels, 2, **options) == expected
    finally:
        torch.set_default_dtype(torch.float32)
    volumes = [1e6 + 1 / 3, 300000 + 1 / 3, 80001 + 1 / 3]
    wide = torch.tensor(volumes, dtype=torch.float64)
    of_both = (dilated_balanced_cross_entropy(logits.double(), labels, 2, volumes=v)
               for v in (volumes, wide))  # fmt: skip
    assert len(set(map(float, of_both))) == 1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@both
def test_all_ignored_is_zero_with_zero_gradient(name, reduction):
    labels = torch.full((2, 4, 4), -100)
    logits = random_logits(labels, 3, requires_grad=True)
    loss = LOSSES[name](logits, labels, reduction=reduction)
    loss.sum().backward()
    assert (loss == 0).all()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (0, 3), (1, 4, 0, 5)])
@pytest.mark.parametrize("num_classes", [2, 9])
@both
def test_without_a_voxel_the_loss_is_zero(name, shape, num_classes):
    logits = torch.zeros(shape[0], num_classes, *shape[1:], requires_grad=True)
    loss = LOSSES[name](logits, torch.zeros(shape, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert not loss.signbit()


@both
def test_one_voxel(name):
    logits = torch.randn(1, 2, 1, generator=torch.manual_seed(0))
    target = torch.tensor([[1]])
    torch.testing.assert_close(LOSSES[name](logits, target), F.cross_entropy(logits, target))
    for radius in (0, 1, math.inf):
        torch.testing.assert_close(
            dilated_balanced_cross_entropy(logits, target, radius),
            F.cross_entropy(logits, target),
        )


@both
def test_ignored_voxels_have_no_influence(name):
    labels = some_labels()
    labels[0, :3] = 255
    logits = random_logits(labels, 3, requires_grad=True)
    loss = LOSSES[name](logits, labels, ignore_index=255)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient[0, :, :3], torch.zeros(3, 3, 8))
    other = logits.detach().clone()
    other[0, :, :3] = 7.0
    assert LOSSES[name](other, labels, ignore_index=255) == loss


@both
def test_channel_axis_of_the_target_is_optional(name):
    labels = some_labels()
    logits = random_logits(labels, 3)
    assert LOSSES[name](logits, labels[:, None]) == LOSSES[name](logits, labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16, torch.bool])
@both
def test_integer_dtypes(name, dtype):
    labels = some_labels(num_classes=2)
    logits = random_logits(labels, 2)
    assert LOSSES[name](logits, labels.to(dtype)) == LOSSES[name](logits, labels)


@both
def test_non_contiguous_and_channels_last_inputs(name):
    labels = some_labels(ignored=5)
    logits = random_logits(labels, 3)

    def value_and_gradient(logits, labels):
        leaf = logits.detach().requires_grad_()
        loss = LOSSES[name](leaf, labels)
        return loss, *torch.autograd.grad(loss, leaf)

    expected = value_and_gradient(logits, labels)
    last = logits.to(memory_format=torch.channels_last)
    strided = torch.stack([logits, logits], -1)[..., 0]
    turned = labels.transpose(1, 2).contiguous().transpose(1, 2)
    assert not any(other.is_contiguous() for other in (last, strided, turned))
    for other in (last, strided):
        for of in (labels, turned):
            torch.testing.assert_close(value_and_gradient(other, of), expected)


@both
def test_label_smoothing_weights_the_smoothed_loss_of_each_voxel(name):
    labels = some_labels()
    logits = random_logits(labels, 3)
    weights = WEIGHTS[name](labels, num_classes=3)
    smoothed = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    ours = LOSSES[name](logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(ours, (weights * smoothed).mean())


@both
def test_300_classes(name):
    labels = some_labels((2, 20, 15), 300)
    logits = random_logits(labels, 300, requires_grad=True)
    weights = WEIGHTS[name](labels, num_classes=300)
    expected = (weights * F.cross_entropy(logits, labels, reduction="none")).mean()
    torch.testing.assert_close(LOSSES[name](logits, labels), expected)


@both
def test_in_inference_mode_and_after_it(name):
    """A validation before the first step leaves nothing behind that training could not use."""
    labels = some_labels((2, 31, 29))  # a shape that no other test has
    logits = random_logits(labels, 3, requires_grad=True)
    module = MODULES[name](weight=[1, 2, 3])
    with torch.inference_mode():
        before = module(logits, labels)
    loss = module(logits, labels)
    loss.backward()
    assert loss == before
    assert logits.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@both
def test_a_first_call_in_a_transform_leaves_nothing_behind(name):
    """Tables that are kept by shape must not hold tensors of a transform that has ended."""
    for transform in (torch.func.grad, torch.vmap):
        size = 33 if transform is torch.vmap else 34
        labels = some_labels((2, size, 27))
        logits = random_logits(labels, 3)
        whole = logits[None] if transform is torch.vmap else logits
        transform(lambda z, labels=labels: LOSSES[name](z, labels))(whole)
        leaf = logits.clone().requires_grad_()
        LOSSES[name](leaf, labels).backward()
        assert leaf.grad.isfinite().all()


class TestModule:
    def test_is_the_function(self):
        labels = some_labels()
        logits = random_logits(labels, 3)
        shared = {
            "spacing": (1.0, 2.0),
            "ignore_index": 0,
            "label_smoothing": 0.1,
            "reduction": "sum",
            "weight": [1.0, 2.0, 0.5],
        }
        module = DilatedBalancedCELoss([1, 2, 3], volumes="image", **shared)
        expected = dilated_balanced_cross_entropy(
            logits, labels, [1, 2, 3], volumes="image", **shared
        )
        assert module(logits, labels) == expected
        module = AdaptiveDilatedCELoss(**shared)
        assert module(logits, labels) == adaptive_dilated_cross_entropy(logits, labels, **shared)

    @pytest.mark.parametrize("mode", ["multilabel", "binary"])
    def test_is_the_function_in_other_modes(self, mode):
        logits = torch.randn(2, 1, 9, 8, generator=torch.manual_seed(0))
        target = (logits > 1).float()
        module = DilatedBalancedCELoss(2, mode=mode, weight=3.0)
        assert module(logits, target) == dilated_balanced_cross_entropy(
            logits, target, 2, mode=mode, weight=3.0
        )
        module = AdaptiveDilatedCELoss(mode=mode, weight=3.0)
        assert module(logits, target) == adaptive_dilated_cross_entropy(
            logits, target, mode=mode, weight=3.0
        )

    def test_given_volumes_are_used_and_are_no_state(self):
        module = DilatedBalancedCELoss(2, volumes=[100, 20, 10])
        assert module.state_dict() == {}
        labels = some_labels()
        logits = random_logits(labels, 3)
        expected = dilated_balanced_cross_entropy(logits, labels, 2, volumes=[100, 20, 10])
        assert module(logits, labels) == expected

    def test_numbers_survive_a_module_cast_to_half(self):
        labels = some_labels(num_classes=2)
        logits = random_logits(labels, 2)
        module = DilatedBalancedCELoss(1, volumes=[400_000, 90_000], weight=[1e6, 1])
        expected = module(logits, labels)
        assert module.half()(logits, labels) == expected

    @both
    def test_survives_pickling_and_copies(self, name):
        module = MODULES[name](weight=[1, 2, 3], ignore_index=None, process_group="world")
        labels = some_labels()
        logits = random_logits(labels, 3)
        expected = MODULES[name](weight=[1, 2, 3])(logits, labels)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert twin(logits, labels) == expected  # alone while nothing is initialised
            assert repr(twin) == repr(module)

    def test_volumes_survive_pickling(self):
        module = DilatedBalancedCELoss(2.5, volumes=[100, 20, 10], num_voxels=120)
        labels = some_labels()
        logits = random_logits(labels, 3)
        twin = pickle.loads(pickle.dumps(module))
        assert twin(logits, labels) == module(logits, labels)

    def test_prints_its_arguments(self):
        assert repr(DilatedBalancedCELoss(2, spacing=(1, 3), volumes=[1, 2])) == (
            "DilatedBalancedCELoss(radius=2.0, spacing=(1.0, 3.0), volumes=[1.0, 2.0], "
            "ignore_index=-100, label_smoothing=0.0, reduction='mean')"
        )
        assert repr(AdaptiveDilatedCELoss(ignore_index=None)) == (
            "AdaptiveDilatedCELoss(label_smoothing=0.0, reduction='mean')"
        )

    def test_prints_what_is_not_the_default(self):
        module = DilatedBalancedCELoss(
            2, mode="binary", volumes=[1, 2], num_voxels=3, weight=2.0, process_group="world"
        )
        assert repr(module) == (
            "DilatedBalancedCELoss(radius=2.0, mode='binary', volumes=[[1.0, 2.0]], "
            "num_voxels=3.0, weight=2.0, ignore_index=-100, process_group='world', "
            "label_smoothing=0.0, reduction='mean')"
        )

    @both
    def test_a_subclass_of_tensors_gives_a_plain_one(self, name):
        class Marked(torch.Tensor):
            pass

        labels = some_labels()
        logits = random_logits(labels, 3)
        loss = MODULES[name]()(logits.as_subclass(Marked), labels.as_subclass(Marked))
        assert type(loss) is torch.Tensor
        assert loss == MODULES[name]()(logits, labels)
        weights = WEIGHTS[name](labels.as_subclass(Marked), num_classes=3)
        assert type(weights) is torch.Tensor

    def test_what_moved_to_a_device_in_inference_mode_can_be_trained_with(self):
        module = DilatedBalancedCELoss(2, volumes=[100, 20])

        class Elsewhere(torch.Tensor):
            device = torch.device("cuda")

            def to(self, _):
                return torch.ones(2)

        module.volumes = module.volumes.as_subclass(Elsewhere)
        with torch.inference_mode():  # as in a validation before the first step
            module._move_to(torch.device("cpu"))
        assert module.volumes.tolist() == [1, 1]
        assert not module.volumes.is_inference()

    @pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
    def test_estimates_of_memory_leave_nothing_behind(self, monkeypatch, mode):
        """Tensors that are only said to be there have no numbers to read, and none to keep."""

        class Unreal(torch.Tensor):
            pass

        volumes = [300, 200, 100] if mode == "multiclass" else [[300, 200]] * 3
        module = DilatedBalancedCELoss(1, mode=mode, volumes=volumes, weight=[1, 2, 3])
        one = torch.zeros(2, *[3] * (mode == "multilabel"), 8, 8, dtype=torch.long)
        expected = module(torch.ones(2, 3, 8, 8), one)
        with FakeTensorMode(allow_non_fake_inputs=True):
            logits, target = torch.ones(2, 3, 8, 8), torch.zeros(one.shape, dtype=torch.long)
            for loss in (module, AdaptiveDilatedCELoss(mode=mode)):
                assert loss(logits, target).shape == ()
        monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self.as_subclass(Unreal))
        module._move_to(torch.device("cuda"))
        monkeypatch.undo()
        assert type(module.volumes) is type(module.weight) is torch.Tensor
        assert module(torch.ones(2, 3, 8, 8), one) == expected

    def test_keeps_its_numbers_and_tells_what_are_no_logits(self):
        labels = torch.zeros(1, 8, 8, dtype=torch.long)
        criterion = DilatedBalancedCELoss(2, volumes=[10, 5, 2])
        criterion(torch.empty(1, 3, 8, 8, device="meta"), labels.to("meta"))  # without numbers
        assert criterion.volumes.tolist() == [10, 5, 2]
        for module in (criterion, AdaptiveDilatedCELoss()):
            with pytest.raises(TypeError, match=r"logits: got list, expected a torch\.Tensor"):
                module([[0.0, 1.0]], labels)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"weight": [-1.0, 2.0]}, "weight: got [-1.0, 2.0], expected finite"),
            ({"volumes": [10, 5, 2], "weight": [1.0, 2.0]}, "weight: got shape (2,), expected (3,"),
            ({"radius": [1, 2, 3], "mode": "binary"}, "radius: got 3 values for 1 class"),
            ({"radius": [1, 2], "volumes": [3, 2, 1]}, "volumes: got shape (3,), expected (2,)"),
            ({"volumes": [[3, 2, 1]], "mode": "multilabel"}, "volumes: got shape (1, 3), expected"),
        ],
    )
    def test_what_does_not_fit_together_is_told_at_once(self, arguments, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            DilatedBalancedCELoss(**{"radius": 1, **arguments})

    def test_later_changes_of_what_it_was_given_do_not_reach_it(self):
        labels = some_labels(num_classes=2)
        logits = random_logits(labels, 2)
        radius, volumes = [1.0, 2.0], np.array([400.0, 90.0], np.float32)
        weight = torch.tensor([1.0, 2.0])
        modules = [
            DilatedBalancedCELoss(radius, volumes=volumes, weight=weight),
            AdaptiveDilatedCELoss(weight=weight),
        ]
        expected = [module(logits, labels) for module in modules]
        radius[0], volumes[0], weight[0] = -1.0, 1.0, 5.0
        assert [module(logits, labels) for module in modules] == expected

    def test_numbers_are_never_trained(self):
        volumes = torch.nn.Parameter(torch.tensor([400.0, 90.0]))
        module = DilatedBalancedCELoss(1, volumes=volumes, weight=volumes)
        assert list(module.parameters()) == []
        assert list(AdaptiveDilatedCELoss(weight=volumes).parameters()) == []
        weights = dilated_balanced_weights(some_labels(num_classes=2), 1, num_classes=2,
                                           volumes=volumes, weight=volumes)  # fmt: skip
        assert not weights.requires_grad


class Training(torch.nn.Module):
    """A network that holds its loss, as Lightning modules do."""

    def __init__(self, criterion, deep=False):
        super().__init__()
        self.net = torch.nn.Conv2d(1, 2, 1)
        self.criterion = torch.nn.ModuleList([Training(criterion)]) if deep else criterion


class Compound(torch.nn.Module):
    """A cross entropy under the name that nnU-Net's losses give it."""

    def __init__(self):
        super().__init__()
        self.ce = torch.nn.CrossEntropyLoss(torch.tensor([0.1, 0.9]))


OLD_LOSSES = {
    "compound": Compound,
    "weight": lambda: torch.nn.CrossEntropyLoss(torch.tensor([0.1, 0.9])),
    "pos_weight": lambda: torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])),
    "both": lambda: torch.nn.BCEWithLogitsLoss(torch.ones(2), pos_weight=torch.tensor([3.0])),
    "nothing": torch.nn.CrossEntropyLoss,
}
NEW_LOSSES = {
    "balanced": lambda: DilatedBalancedCELoss(2),
    "adaptive": lambda: AdaptiveDilatedCELoss(weight=[1, 2]),
    "binary": lambda: AdaptiveDilatedCELoss(mode="binary"),
}


@pytest.mark.parametrize("new", NEW_LOSSES)
@pytest.mark.parametrize("old", OLD_LOSSES)
@pytest.mark.parametrize("deep", [False, True])
class TestOldCheckpoints:
    """The class weights of the loss that stood here are no reason not to go on training."""

    def test_they_load(self, old, new, deep):
        saved = Training(OLD_LOSSES[old](), deep).state_dict()
        kept = dict(saved)
        network = Training(NEW_LOSSES[new](), deep)
        result = network.load_state_dict(saved, strict=True)
        assert result.missing_keys == result.unexpected_keys == []
        assert torch.equal(network.net.weight, saved["net.weight"])
        assert saved.keys() == kept.keys()  # the caller's are left alone

    def test_what_is_of_no_loss_is_told(self, old, new, deep):
        saved = Training(OLD_LOSSES[old](), deep).state_dict()
        inside = "criterion.0.criterion" if deep else "criterion"
        foreign = (
            f"{inside}.scale",
            f"{inside}.0.weight",
            f"{inside}.conv.weight",
            f"{inside}.ce.bias",
            f"{inside}.weight.weight",
            "criterion2.weight",
            "net.weight2",
            "weight",
        )
        for key in foreign:
            with pytest.raises(RuntimeError, match=f"Unexpected key.*{re.escape(key)}"):
                Training(NEW_LOSSES[new](), deep).load_state_dict({**saved, key: torch.ones(2)})
        del saved["net.weight"]
        with pytest.raises(RuntimeError, match=r"Missing key.*net\.weight"):
            Training(NEW_LOSSES[new](), deep).load_state_dict(saved)


@pytest.mark.parametrize("new", NEW_LOSSES.values(), ids=NEW_LOSSES)
def test_a_checkpoint_of_the_loss_alone_loads(new):
    saved = torch.nn.CrossEntropyLoss(torch.ones(2)).state_dict()
    assert list(saved) == ["weight"]
    new().load_state_dict(saved)
    new().load_state_dict(new().state_dict())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        new().load_state_dict({"bias": torch.ones(2)})


@pytest.mark.parametrize("new", NEW_LOSSES.values(), ids=NEW_LOSSES)
def test_the_checkpoint_of_a_network_does_not_load_into_a_loss(new):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(RuntimeError, match=r'"0\.weight", "1\.weight", "1\.bias"'):
        new().load_state_dict(network.state_dict(), strict=True)
    result = new().load_state_dict(network.state_dict(), strict=False)
    assert result.unexpected_keys == ["0.weight", "1.weight", "1.bias"]


def test_class_weights_in_the_first_place_are_no_radii():
    """`nn.CrossEntropyLoss(weight)` and `F.cross_entropy(logits, target, weight)` take them so."""
    labels = some_labels(num_classes=2)
    logits = random_logits(labels, 2)
    for weight in (
        torch.tensor([0.1, 0.9]),
        torch.tensor([1, 2]),
        torch.tensor([[0.1, 0.9]]),
        torch.nn.Parameter(torch.tensor([0.1, 0.9])),
        torch.tensor([2.0]),
        torch.tensor([]),
        np.array([0.1, 0.9]),
        np.array([1, 2]),
    ):
        for call in (
            lambda weight=weight: DilatedBalancedCELoss(weight),
            lambda weight=weight: dilated_balanced_cross_entropy(logits, labels, weight),
            lambda weight=weight: dilated_balanced_weights(labels, weight, num_classes=2),
        ):
            with pytest.raises(TypeError, match=r"radius: got a .*which nn.CrossEntropyLoss takes"):
                call()
            with pytest.raises(TypeError, match=r"are weight=\.\.\.; radii .* radius\.tolist\(\)"):
                call()
        for call in (
            lambda weight=weight: AdaptiveDilatedCELoss(weight),
            lambda weight=weight: adaptive_dilated_cross_entropy(logits, labels, weight),
        ):
            with pytest.raises(TypeError, match="positional argument"):
                call()


def test_nothing_but_the_radius_goes_without_its_name():
    labels = some_labels(num_classes=2)
    logits = random_logits(labels, 2)
    for call in (
        lambda: DilatedBalancedCELoss(1, "multiclass"),
        lambda: dilated_balanced_cross_entropy(logits, labels, 1, "multiclass"),
        lambda: dilated_balanced_weights(labels, 1, 2),
        lambda: AdaptiveDilatedCELoss("multiclass"),
        lambda: adaptive_dilated_cross_entropy(logits, labels, "multiclass"),
        DilatedBalancedCELoss,
        lambda: dilated_balanced_cross_entropy(logits, labels),
    ):
        with pytest.raises(TypeError, match="positional argument"):
            call()


@pytest.mark.parametrize("name", MODULES)
def test_only_the_class_weights_of_a_loss_are_taken_out_of_a_checkpoint(name):
    network = torch.nn.Module()
    network.criterion = MODULES[name]()
    network.load_state_dict({"criterion.weight": torch.ones(2)})
    for name in ("cross_entropy.bias", "backbone.conv1.weight", "bias", "0.weight", "xweight"):
        with pytest.raises(RuntimeError, match=rf"criterion\.{re.escape(name)}"):
            network.load_state_dict({f"criterion.{name}": torch.ones(2)})
