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

from dilated_ce import (
    DilatedBalancedCELoss,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)


def random_logits(labels, num_classes, seed=0, **options):
    shape = (labels.shape[0], num_classes, *labels.shape[1:])
    return torch.randn(shape, generator=torch.manual_seed(seed), **options)


class TestOracles:
    """The seven statements that define the loss."""

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
        balance=st.sampled_from(["batch", "image"]),
        overlap=st.sampled_from(list(oracles.OVERLAPS)),
        infinite=st.booleans(),
    )
    def test_2_infinite_radius_is_plain_cross_entropy(
        self, shape, num_classes, balance, overlap, infinite
    ):
        # every class present in every image
        pixels = shape[1] * shape[2]
        num_classes = min(num_classes, pixels)
        labels = (torch.arange(pixels) % num_classes).view(1, *shape[1:]).repeat(shape[0], 1, 1)
        radius = math.inf if infinite else math.hypot(shape[1] - 1, shape[2] - 1)
        logits = random_logits(labels, num_classes, dtype=torch.float64)
        ours = dilated_balanced_cross_entropy(
            logits, labels, radius, balance=balance, overlap=overlap
        )
        torch.testing.assert_close(ours, F.cross_entropy(logits, labels))

    @given(st.data())
    def test_3_the_loss_is_that_of_the_exact_ball(self, data):
        case = data.draw(strategies.label_maps(min_classes=2))
        options = {
            "spacing": data.draw(strategies.spacings(case.labels.ndim - 1)),
            "overlap": data.draw(st.sampled_from(list(oracles.OVERLAPS))),
            "balance": data.draw(st.sampled_from(["batch", "image"])),
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
        balance=st.sampled_from(["batch", "image"]),
        seed=st.integers(0, 1000),
    )
    def test_4_symmetries_change_nothing(self, case, radius, balance, seed):
        labels, ignore_index = case.labels, case.ignore_index
        logits = random_logits(labels, case.num_classes, dtype=torch.float64)

        def loss(logits, labels):
            options = {"balance": balance, "ignore_index": 255}
            return dilated_balanced_cross_entropy(logits, labels, radius, **options)

        if ignore_index is not None:  # away from the classes, which are permuted below
            labels = torch.where(labels == ignore_index, 255, labels)
        expected = loss(logits, labels)

        classes = torch.randperm(case.num_classes, generator=torch.manual_seed(seed))
        renamed = torch.where(labels == 255, 255, classes[labels.clamp(max=len(classes) - 1)])
        torch.testing.assert_close(loss(logits[:, classes.argsort()], renamed), expected)

        order = torch.randperm(len(labels), generator=torch.manual_seed(seed))
        torch.testing.assert_close(loss(logits[order], labels[order]), expected)

        for axis in range(1, labels.ndim):
            torch.testing.assert_close(loss(logits.flip(axis + 1), labels.flip(axis)), expected)
        if labels.ndim > 2:
            turned = loss(logits.rot90(1, (-2, -1)), labels.rot90(1, (-2, -1)))
            torch.testing.assert_close(turned, expected)

    def test_5_weights_carry_no_gradient(self):
        labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 3, requires_grad=True)
        weights = dilated_balanced_weights(labels, 2, num_classes=3)
        assert not weights.requires_grad
        (ours,) = torch.autograd.grad(dilated_balanced_cross_entropy(logits, labels, 2), logits)
        constant = (weights * F.cross_entropy(logits, labels, reduction="none")).mean()
        (expected,) = torch.autograd.grad(constant, logits)
        torch.testing.assert_close(ours, expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_5_half_precision_is_computed_in_float32(self, dtype):
        labels = torch.randint(0, 3, (2, 33, 33), generator=torch.manual_seed(0))
        logits = random_logits(labels, 3).to(dtype).requires_grad_()
        exact = dilated_balanced_cross_entropy(logits.detach().double(), labels, 2)
        for context in (torch.autocast("cpu", dtype), torch.autocast("cpu", enabled=False)):
            with context:
                loss = dilated_balanced_cross_entropy(logits, labels, 2)
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert gradient.dtype == dtype
            assert gradient.isfinite().all()

    # Oracle 6, many processes: test_distributed.py

    @given(
        case=strategies.label_maps(min_classes=2),
        radius=strategies.radii(),
        balance=st.sampled_from(["batch", "image"]),
    )
    def test_7_reductions_agree(self, case, radius, balance):
        logits = random_logits(case.labels, case.num_classes, dtype=torch.float64)
        options = {"balance": balance, "ignore_index": case.ignore_index}
        mean, total, voxels = (
            dilated_balanced_cross_entropy(
                logits, case.labels, radius, reduction=reduction, **options
            )
            for reduction in ("mean", "sum", "none")
        )
        assert voxels.shape == case.labels.shape
        valid = torch.ones_like(case.labels, dtype=torch.bool)
        if case.ignore_index is not None:
            valid = case.labels != case.ignore_index
        torch.testing.assert_close(voxels.sum(), total)
        if valid.any():
            torch.testing.assert_close(voxels[valid].mean(), mean)


def test_sum_overlap_is_the_mean_over_classes_of_their_neighbourhoods():
    labels = torch.randint(0, 3, (2, 9, 9), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3, dtype=torch.float64)
    voxels = F.cross_entropy(logits, labels, reduction="none")
    masks = torch.from_numpy(oracles.dilated_masks(labels, 1, 3))
    expected = torch.stack([voxels[masks[:, c]].mean() for c in range(3)]).mean()
    torch.testing.assert_close(dilated_balanced_cross_entropy(logits, labels, 1), expected)


@pytest.mark.parametrize("shape", [(2, 7), (2, 5, 4), (1, 3, 4, 3)])
@pytest.mark.parametrize("balance", ["batch", "image"])
def test_gradcheck(shape, balance):
    labels = torch.randint(0, 3, shape, generator=torch.manual_seed(0))
    labels.view(-1)[0] = -100
    logits = random_logits(labels, 3, dtype=torch.float64, requires_grad=True)
    for options in ({"reduction": "mean"}, {"reduction": "none"}, {"label_smoothing": 0.2}):
        assert torch.autograd.gradcheck(
            lambda z, options=options: dilated_balanced_cross_entropy(
                z, labels, 1.5, balance=balance, **options
            ),
            logits,
        )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_second_derivatives(label_smoothing):
    labels = torch.randint(0, 3, (2, 4, 4), generator=torch.manual_seed(0))
    labels.view(-1)[0] = -100
    logits = random_logits(labels, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda z: dilated_balanced_cross_entropy(z, labels, 1, label_smoothing=label_smoothing),
        logits,
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_a_gradient_to_differentiate_is_the_same_gradient(label_smoothing):
    labels = torch.randint(0, 3, (2, 4, 4), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3, dtype=torch.float64, requires_grad=True)
    loss = dilated_balanced_cross_entropy(logits, labels, 1, label_smoothing=label_smoothing)
    weights = torch.from_numpy(oracles.weights(labels.numpy(), 1, 3))
    losses = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    (expected,) = torch.autograd.grad((weights * losses).mean(), logits)
    for create_graph in (True, False):
        (ours,) = torch.autograd.grad(loss, logits, create_graph=create_graph)
        torch.testing.assert_close(ours, expected)


def test_a_graph_may_be_differentiated_twice():
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3, requires_grad=True)
    loss = dilated_balanced_cross_entropy(logits, labels, 2)
    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (second,) = torch.autograd.grad(loss, logits)
    assert first.data_ptr() != second.data_ptr()
    torch.testing.assert_close(first, second)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_function_transforms_over_the_logits():
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    several = torch.stack([random_logits(labels, 3, seed) for seed in range(3)])

    def loss(logits):
        return dilated_balanced_cross_entropy(logits, labels, 2)

    gradients = torch.vmap(torch.func.grad(loss))(several)
    for logits, gradient in zip(several, gradients, strict=True):
        logits.requires_grad_()
        torch.testing.assert_close(gradient, torch.autograd.grad(loss(logits), logits)[0])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_forward_derivatives(smoothing):
    labels = torch.randint(0, 3, (1, 3, 4), generator=torch.manual_seed(0))
    labels[0, 0, 0] = -100
    logits = random_logits(labels, 3).double()
    weights = torch.from_numpy(oracles.weights(labels.numpy(), 1, 3, ignore_index=-100))

    def loss(logits):
        return dilated_balanced_cross_entropy(logits, labels, 1, label_smoothing=smoothing)

    def expected(logits):
        entropy = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return (weights * entropy).sum() / 11

    options = {"rtol": 1e-6, "atol": 1e-8}  # the weights are counted in float64, given in float32
    for transform in (torch.func.hessian, torch.func.jacfwd):
        torch.testing.assert_close(transform(loss)(logits), transform(expected)(logits), **options)


def test_numbers_are_as_wide_as_they_are_written():
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3)
    options = {"volumes": [1e6, 300000.0, 80001.0], "num_voxels": 1.5e6, "weight": [1.1, 0.3, 2.7]}
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


def test_the_module_keeps_its_numbers_and_tells_what_are_no_logits():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    criterion = DilatedBalancedCELoss(2, volumes=[10, 5, 2])
    with pytest.raises(RuntimeError, match="meta"):  # tensors without numbers
        criterion(torch.empty(1, 3, 8, 8, device="meta"), labels.to("meta"))
    assert criterion.volumes.tolist() == [10, 5, 2]
    with pytest.raises(TypeError, match=r"logits: got list, expected a torch\.Tensor"):
        criterion([[0.0, 1.0]], labels)


def test_nothing_but_a_number_where_an_ignored_voxel_is_not_finite():
    labels = torch.tensor([[0, 1, -100, 1]])
    logits = random_logits(labels, 2)
    expected = dilated_balanced_cross_entropy(logits, labels, 1)
    wanted = logits.clone().requires_grad_()
    dilated_balanced_cross_entropy(wanted, labels, 1).backward()
    for value in (math.inf, -math.inf, math.nan):
        logits[0, 1, 2] = value
        leaf = logits.clone().requires_grad_()
        loss = dilated_balanced_cross_entropy(leaf, labels, 1)
        assert loss == expected
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        (again,) = torch.autograd.grad(loss, leaf)
        for found in (gradient, again):
            torch.testing.assert_close(found, wanted.grad)
            assert (found[0, :, 2] == 0).all()


@pytest.mark.parametrize("overlap", oracles.OVERLAPS)
@pytest.mark.parametrize("balance", ["batch", "image"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_all_ignored_is_zero_with_zero_gradient(overlap, balance, reduction):
    labels = torch.full((2, 4, 4), -100)
    logits = random_logits(labels, 3, requires_grad=True)
    loss = dilated_balanced_cross_entropy(
        logits, labels, 2, overlap=overlap, balance=balance, reduction=reduction
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_empty_batch_is_zero():
    logits = torch.zeros(0, 3, 4, 4, requires_grad=True)
    loss = dilated_balanced_cross_entropy(logits, torch.zeros(0, 4, 4, dtype=torch.long), 1)
    loss.backward()
    assert loss.item() == 0


def test_one_voxel():
    logits = torch.randn(1, 2, 1, generator=torch.manual_seed(0))
    target = torch.tensor([[1]])
    for radius in (0, 1, math.inf):
        torch.testing.assert_close(
            dilated_balanced_cross_entropy(logits, target, radius),
            F.cross_entropy(logits, target),
        )


def test_ignored_voxels_have_no_influence():
    labels = torch.randint(0, 3, (1, 8, 8), generator=torch.manual_seed(0))
    labels[0, :3] = 255
    logits = random_logits(labels, 3, requires_grad=True)
    loss = dilated_balanced_cross_entropy(logits, labels, 2, ignore_index=255)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient[:, :, :3], torch.zeros(1, 3, 3, 8))
    other = logits.detach().clone()
    other[:, :, :3] = 7.0
    assert dilated_balanced_cross_entropy(other, labels, 2, ignore_index=255) == loss


def test_channel_axis_of_the_target_is_optional():
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3)
    assert dilated_balanced_cross_entropy(
        logits, labels[:, None], 2
    ) == dilated_balanced_cross_entropy(logits, labels, 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16, torch.bool])
def test_integer_dtypes(dtype):
    labels = torch.randint(0, 2, (2, 8, 8), generator=torch.manual_seed(0))
    logits = random_logits(labels, 2)
    assert dilated_balanced_cross_entropy(
        logits, labels.to(dtype), 2
    ) == dilated_balanced_cross_entropy(logits, labels, 2)


def test_non_contiguous_and_channels_last_logits():
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3)
    expected = dilated_balanced_cross_entropy(logits, labels, 2)
    last = logits.to(memory_format=torch.channels_last)
    torch.testing.assert_close(dilated_balanced_cross_entropy(last, labels, 2), expected)
    strided = logits.repeat(1, 1, 1, 2)[..., ::2]
    strided[:] = logits
    torch.testing.assert_close(dilated_balanced_cross_entropy(strided, labels, 2), expected)


def test_label_smoothing_weights_the_smoothed_loss_of_each_voxel():
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    logits = random_logits(labels, 3)
    weights = dilated_balanced_weights(labels, 2, num_classes=3)
    smoothed = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    ours = dilated_balanced_cross_entropy(logits, labels, 2, label_smoothing=0.1)
    torch.testing.assert_close(ours, (weights * smoothed).mean())


class TestModule:
    def test_is_the_function(self):
        labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 3)
        options = {
            "spacing": (1.0, 2.0),
            "overlap": "max",
            "balance": "image",
            "ignore_index": 0,
            "label_smoothing": 0.1,
            "reduction": "sum",
        }
        module = DilatedBalancedCELoss([1, 2, 3], **options)
        expected = dilated_balanced_cross_entropy(logits, labels, [1, 2, 3], **options)
        assert module(logits, labels) == expected

    def test_given_volumes_are_used_and_are_no_state(self):
        module = DilatedBalancedCELoss(2, volumes=[100, 20, 10])
        assert module.state_dict() == {}
        labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 3)
        expected = dilated_balanced_cross_entropy(logits, labels, 2, volumes=[100, 20, 10])
        assert module(logits, labels) == expected

    def test_volumes_survive_a_module_cast_to_half(self):
        labels = torch.randint(0, 2, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 2)
        module = DilatedBalancedCELoss(1, volumes=[400_000, 90_000])
        expected = module(logits, labels)
        assert module.half()(logits, labels) == expected

    def test_survives_pickling(self):
        module = DilatedBalancedCELoss(2.5, volumes=[100, 20, 10], ignore_index=None)
        labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 3)
        twin = pickle.loads(pickle.dumps(module))
        assert twin(logits, labels) == module(logits, labels)

    def test_a_process_group_by_name_survives_copies(self):
        module = DilatedBalancedCELoss(2, process_group="world", weight=[1, 2])
        labels = torch.randint(0, 2, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 2)
        expected = DilatedBalancedCELoss(2, weight=[1, 2])(logits, labels)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert twin(logits, labels) == expected  # alone while nothing is initialised

    def test_prints_its_arguments(self):
        assert repr(DilatedBalancedCELoss(2, spacing=(1, 3), volumes=[1, 2])) == (
            "DilatedBalancedCELoss(radius=2.0, spacing=(1.0, 3.0), overlap='sum', volumes=[1, 2], "
            "ignore_index=-100, label_smoothing=0.0, reduction='mean')"
        )

    def test_prints_what_is_not_the_default(self):
        module = DilatedBalancedCELoss(
            2, mode="binary", volumes=[1, 2], num_voxels=3, weight=2.0, process_group="world"
        )
        assert repr(module) == (
            "DilatedBalancedCELoss(radius=2.0, mode='binary', overlap='sum', volumes=[[1, 2]], "
            "num_voxels=3, weight=2.0, ignore_index=-100, process_group='world', "
            "label_smoothing=0.0, reduction='mean')"
        )

    def test_a_subclass_of_tensors_gives_a_plain_one(self):
        class Marked(torch.Tensor):
            pass

        labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 3)
        loss = DilatedBalancedCELoss(2)(logits.as_subclass(Marked), labels.as_subclass(Marked))
        assert type(loss) is torch.Tensor
        assert loss == DilatedBalancedCELoss(2)(logits, labels)

    def test_what_moved_to_a_device_in_inference_mode_can_be_trained_with(self):
        class Elsewhere:
            device = torch.device("cuda")

            def to(self, _):
                return torch.ones(2)

        module = DilatedBalancedCELoss(2, volumes=[100, 20])
        module.volumes = Elsewhere()
        with torch.inference_mode():  # as in a validation before the first step
            module._move_to(torch.device("cpu"))
        assert not module.volumes.is_inference()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"weight": [-1.0, 2.0]}, "weight: got [-1.0, 2.0], expected finite"),
            (
                {"volumes": [10, 5, 2], "weight": [1.0, 2.0]},
                "volumes: got shape (3,), weight: got shape (2,), expected",
            ),
            ({"radius": [1, 2, 3], "mode": "binary"}, "radius: got 3 values for 1 classes"),
            ({"radius": [1, 2], "volumes": [3, 2, 1]}, "volumes: got shape (3,), expected (2,)"),
        ],
    )
    def test_what_does_not_fit_together_is_told_at_once(self, arguments, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            DilatedBalancedCELoss(**arguments)

    def test_later_changes_of_what_it_was_given_do_not_reach_it(self):
        labels = torch.randint(0, 2, (2, 8, 8), generator=torch.manual_seed(0))
        logits = random_logits(labels, 2)
        radius, volumes = [1.0, 2.0], np.array([400.0, 90.0])
        module = DilatedBalancedCELoss(radius, volumes=volumes)
        expected = module(logits, labels)
        radius[0], volumes[0] = -1.0, 1.0
        assert module(logits, labels) == expected

    def test_volumes_are_never_trained(self):
        volumes = torch.nn.Parameter(torch.tensor([400.0, 90.0]))
        module = DilatedBalancedCELoss(1, volumes=volumes)
        assert list(module.parameters()) == []
        labels = torch.randint(0, 2, (2, 8, 8), generator=torch.manual_seed(0))
        weights = dilated_balanced_weights(labels, 1, num_classes=2, volumes=volumes)
        assert not weights.requires_grad
