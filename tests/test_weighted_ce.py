"""The weighted cross entropy and its derivatives, against PyTorch's own of plain operations."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from losses import LOSSES, WEIGHTS

from dilated_ce import adaptive_dilated_cross_entropy, dilated_balanced_cross_entropy
from dilated_ce.target import Target
from dilated_ce.weighted_ce import weighted_cross_entropy

both = pytest.mark.parametrize("name", LOSSES)
SMOOTHINGS = [0.0, 0.2]
# In float64, with weights counted in float64.
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def labels_and_logits(shape=(2, 4, 4), num_classes=3, ignored=1, dtype=torch.float64):
    generator = torch.manual_seed(0)
    labels = torch.randint(0, num_classes, shape, generator=generator)
    labels.view(-1)[:ignored] = -100
    full = (shape[0], num_classes, *shape[1:])
    return labels, torch.randn(full, generator=generator, dtype=dtype, requires_grad=True)


def soft_and_logits(shape=(2, 3, 4, 3), unlabelled=True):
    generator = torch.manual_seed(0)
    soft = torch.rand(shape, generator=generator, dtype=torch.float64).softmax(1)
    if unlabelled:
        soft[0, :, 0, 1:] = 0
    return soft, torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def plain(logits, target, weights, valid, smoothing, by_channel):
    """The sum of w CE, by operations that PyTorch differentiates itself."""
    if by_channel:
        truth = target * (1 - smoothing) + smoothing / 2
        losses = F.softplus(logits) - truth * logits
    else:
        if target.ndim < logits.ndim:
            target = F.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1)
        truth = target * (1 - smoothing) + smoothing / logits.shape[1]
        losses = -(truth * logits.log_softmax(1)).sum(1)
    return torch.where(valid, weights * losses, 0)


@given(
    kind=st.sampled_from(["indices", "soft", "channels"]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    by_voxel=st.booleans(),
    ignoring=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**32 - 1),
    spatial=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_values_and_gradients(kind, smoothing, by_voxel, ignoring, dtype, seed, spatial):
    generator = torch.manual_seed(seed)
    shape = (2, 3, *spatial)
    single = shape if kind == "channels" else (2, *spatial)
    logits = (3 * torch.randn(shape, generator=generator, dtype=dtype)).requires_grad_()
    valid = torch.rand(single, generator=generator) < (0.6 if ignoring else 2)
    weights = torch.rand(single, generator=generator, dtype=dtype) * valid
    labels = torch.randint(0, 3, (2, *spatial), generator=generator)
    truth = torch.rand(shape, generator=generator, dtype=dtype)
    if kind == "soft":  # which add up to about 1
        truth = truth.softmax(1) * 1.003
    told = labels if kind == "indices" else truth
    if kind == "indices":
        told = torch.where(valid, labels, -100)
    ours = weighted_cross_entropy(
        logits,
        Target(told if kind == "indices" else labels, None if kind == "indices" else truth, None),
        weights,
        valid if ignoring else None,
        smoothing,
        kind == "channels",
        by_voxel,
    )
    expected = plain(logits, told, weights, valid, smoothing, kind == "channels")
    expected = expected if by_voxel else expected.sum()
    torch.testing.assert_close(ours, expected)
    factor = torch.rand(expected.shape, generator=generator, dtype=dtype)
    wanted = torch.autograd.grad((factor * expected).sum(), logits)
    torch.testing.assert_close(torch.autograd.grad((factor * ours).sum(), logits), wanted)


@pytest.mark.parametrize("shape", [(2, 7), (2, 5, 4), (1, 3, 4, 3)])
@both
def test_gradcheck(name, shape):
    labels, logits = labels_and_logits(shape)
    for options in ({"reduction": "mean"}, {"reduction": "none"}, {"label_smoothing": 0.2}):
        assert torch.autograd.gradcheck(
            lambda z, options=options: LOSSES[name](z, labels, **options), logits
        )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
@both
def test_gradcheck_of_probabilities(name, mode, smoothing):
    soft, logits = soft_and_logits(unlabelled=mode == "multiclass")
    if mode == "multilabel":
        soft[0, :, 0, 1:] = -100
    for reduction in ("mean", "none"):
        options = {"mode": mode, "label_smoothing": smoothing, "reduction": reduction}
        assert torch.autograd.gradcheck(
            lambda z, options=options: LOSSES[name](z, soft, **options), logits
        )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@both
def test_second_derivatives(name, smoothing):
    labels, logits = labels_and_logits()
    soft, others = soft_and_logits()
    for z, target in ((logits, labels), (others, soft)):
        assert torch.autograd.gradgradcheck(
            lambda z, target=target: LOSSES[name](z, target, label_smoothing=smoothing), z
        )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@both
def test_a_gradient_to_differentiate_is_the_same_gradient(name, smoothing):
    labels, logits = labels_and_logits()
    loss = LOSSES[name](logits, labels, label_smoothing=smoothing)
    weights = expected_weights(name, labels)
    losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    (expected,) = torch.autograd.grad((weights * losses).sum() / 31, logits)
    for create_graph in (True, False):
        (ours,) = torch.autograd.grad(loss, logits, create_graph=create_graph)
        torch.testing.assert_close(ours, expected, **EXACT)


def expected_weights(name, labels, num_classes=3):
    if name == "adaptive":
        weights = oracles.adaptive_weights(labels, num_classes, ignore_index=-100)
    else:
        weights = oracles.balanced_weights(
            labels, 1.5, num_classes, volumes=name, ignore_index=-100
        )
    return torch.from_numpy(weights)


@pytest.mark.parametrize("kind", ["indices", "soft"])
@both
def test_a_graph_may_be_differentiated_again_and_again(name, kind):
    labels, logits = labels_and_logits() if kind == "indices" else soft_and_logits()
    loss = LOSSES[name](logits, labels)
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(3)]
    (gradients[0] * 1).zero_()
    gradients[0].zero_()  # it is the caller's
    gradients.append(torch.autograd.grad(loss, logits)[0])
    assert len({gradient.data_ptr() for gradient in gradients}) == 4
    for gradient in gradients[2:]:
        torch.testing.assert_close(gradient, gradients[1], **EXACT)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, logits)


@both
def test_the_gradient_of_a_part_of_a_sum_of_losses(name):
    """A factor reaches the gradient, and a loss that is not used has none."""
    labels, logits = labels_and_logits()
    (alone,) = torch.autograd.grad(LOSSES[name](logits, labels), logits)
    loss = 3 * LOSSES[name](logits, labels) + 0 * LOSSES[name](logits, labels)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], 3 * alone, **EXACT)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@both
def test_a_target_that_is_learnt(name, smoothing):
    """As in distillation: the gradient to the probabilities is that of the cross entropy."""
    soft, logits = soft_and_logits(unlabelled=False)
    soft.requires_grad_()
    weights = expected_weights(name, soft.argmax(1))
    loss = LOSSES[name](logits, soft, label_smoothing=smoothing)
    losses = F.cross_entropy(logits, soft, label_smoothing=smoothing, reduction="none")
    expected = torch.autograd.grad((weights * losses).mean(), (logits, soft))
    torch.testing.assert_close(torch.autograd.grad(loss, (logits, soft)), expected, **EXACT)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@both
def test_function_transforms_over_the_logits(name):
    labels, _ = labels_and_logits((2, 8, 8))
    several = torch.randn(3, 2, 3, 8, 8, generator=torch.manual_seed(0))

    def loss(logits):
        return LOSSES[name](logits, labels)

    values = torch.vmap(loss)(several)
    gradients = torch.vmap(torch.func.grad(loss))(several)
    for logits, gradient, value in zip(several, gradients, values, strict=True):
        logits.requires_grad_()
        torch.testing.assert_close(value, loss(logits))
        torch.testing.assert_close(gradient, torch.autograd.grad(loss(logits), logits)[0])


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
@both
def test_function_transforms_over_the_labels_too(name, mode):
    """Python may read no value of many labels that vmap has put into one."""
    labels, logits = labels_and_logits((4, 7, 8))
    if mode == "multilabel":
        labels = torch.stack([labels == 0, labels > 0, labels == 1], 1).long()

    def loss(logits, labels):
        return LOSSES[name](logits[None], labels[None], mode=mode)

    logits = logits.detach()
    values = torch.vmap(loss)(logits, labels)
    gradients = torch.vmap(torch.func.grad(loss))(logits, labels)
    for z, y, value, gradient in zip(logits, labels, values, gradients, strict=True):
        z.requires_grad_()
        torch.testing.assert_close(value, loss(z, y))
        torch.testing.assert_close(gradient, torch.autograd.grad(loss(z, y), z)[0])


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("soft", [False, True])
@both
def test_the_gradients_of_many_losses_at_once(name, soft, smoothing):
    """As `torch.autograd.functional.jacobian(..., vectorize=True)` takes them."""
    target, logits = soft_and_logits() if soft else labels_and_logits()
    loss = LOSSES[name](logits, target, label_smoothing=smoothing)
    (expected,) = torch.autograd.grad(loss, logits, retain_graph=True)
    by = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (found,) = torch.autograd.grad(loss, logits, grad_outputs=by, is_grads_batched=True)
    torch.testing.assert_close(found, by.view(3, *[1] * logits.ndim) * expected, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@both
def test_of_logits_in_half_precision_one_copy_is_kept(name, dtype):
    labels, _ = labels_and_logits((2, 16, 16))
    logits = torch.randn(2, 3, 16, 16, generator=torch.manual_seed(0)).to(dtype).requires_grad_()
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = LOSSES[name](logits, labels)
    assert [t.dtype for t in kept if t.shape == logits.shape] == [dtype]
    single = logits.detach().float().requires_grad_()
    expected = LOSSES[name](single, labels)
    torch.testing.assert_close(loss, expected)
    wanted, found = (torch.autograd.grad(of, z)[0]
                     for of, z in ((expected, single), (loss, logits)))  # fmt: skip
    torch.testing.assert_close(found, wanted.to(dtype))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
@both
def test_function_transforms_with_probabilities(name, mode):
    soft, logits = soft_and_logits(unlabelled=False)

    def loss(logits):
        return LOSSES[name](logits, soft, mode=mode)

    several = torch.stack([logits.detach(), 2 * logits.detach()])
    gradients = torch.vmap(torch.func.grad(loss))(several)
    for z, gradient in zip(several, gradients, strict=True):
        z.requires_grad_()
        torch.testing.assert_close(gradient, torch.autograd.grad(loss(z), z)[0], **EXACT)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@both
def test_forward_derivatives(name, smoothing):
    labels, logits = labels_and_logits((1, 3, 4))
    logits = logits.detach()
    weights = expected_weights(name, labels)

    def loss(logits):
        return LOSSES[name](logits, labels, label_smoothing=smoothing)

    def expected(logits):
        entropy = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return (weights * entropy).sum() / 11

    for transform in (torch.func.hessian, torch.func.jacfwd, torch.func.jacrev):
        torch.testing.assert_close(transform(loss)(logits), transform(expected)(logits), **EXACT)
    tangent = torch.ones_like(logits).cumsum(-1)
    ours, wanted = (torch.func.jvp(f, (logits,), (tangent,)) for f in (loss, expected))
    torch.testing.assert_close(ours, wanted, **EXACT)


@both
def test_a_network_in_transforms(name):
    """The gradient to parameters, as `torch.func.functional_call` users take it."""
    labels, _ = labels_and_logits((2, 8, 8), dtype=torch.float32)
    layer = torch.nn.Conv2d(1, 3, 3, padding=1)
    image = torch.randn(2, 1, 8, 8, generator=torch.manual_seed(0))

    def loss(parameters):
        return LOSSES[name](torch.func.functional_call(layer, parameters, (image,)), labels)

    ours = torch.func.grad(loss)({k: v.detach() for k, v in layer.named_parameters()})
    LOSSES[name](layer(image), labels).backward()
    for key, parameter in layer.named_parameters():
        torch.testing.assert_close(ours[key], parameter.grad)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@both
def test_nothing_but_numbers_where_an_ignored_voxel_is_not_finite(name, smoothing, value):
    labels = torch.tensor([[0, 1, -100, 1]])
    logits = torch.randn(1, 2, 4, generator=torch.manual_seed(0))
    options = {"label_smoothing": smoothing}
    wanted = logits.clone().requires_grad_()
    expected = LOSSES[name](wanted, labels, **options)
    expected.backward()
    for whole in (False, True):
        logits[0, slice(None) if whole else 1, 2] = value
        leaf = logits.clone().requires_grad_()
        loss = LOSSES[name](leaf, labels, **options)
        assert loss == expected
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        (again,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        (third,) = torch.autograd.grad(loss, leaf)
        by_voxel = LOSSES[name](leaf, labels, reduction="none", **options)
        (of_map,) = torch.autograd.grad(by_voxel.sum() / 3, leaf)
        for found in (gradient, again, third, of_map):
            torch.testing.assert_close(found, wanted.grad)
            assert (found[0, :, 2] == 0).all()


@both
def test_probabilities_at_ignored_voxels_that_are_not_finite(name):
    soft, logits = soft_and_logits()
    expected = LOSSES[name](logits, soft)
    (wanted,) = torch.autograd.grad(expected, logits)
    with torch.no_grad():
        logits[0, 1, 0, 2] = math.inf
        logits[0, :, 0, 1] = math.nan
    loss = LOSSES[name](logits, soft)
    assert loss == expected
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, wanted, **EXACT)


def with_impossible_classes(kind):
    """Logits that are infinite where a target has 0 (or 1, of masks), and numbers that act alike.

    Returns:
        The logits, those with -1e4 and 1e4 instead of infinities, the target, and the class
        indices, -100 where there are none, if the target is one-hot.
    """
    generator = torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 6, 5), generator=generator)
    target = F.one_hot(labels, 4).movedim(-1, 1).double()
    if kind == "soft":
        target = (target + target.roll(1, 1)) / 2
    elif kind == "masks":
        target = (torch.rand(target.shape, generator=generator) < 0.4).double()
    elif kind == "unlabelled":
        target[0, :, 0], labels[0, 0] = 0, -100
    logits = torch.randn(target.shape, generator=generator, dtype=torch.float64)
    here = torch.rand(target.shape, generator=generator) < 0.5
    finite = torch.where(here & (target == 0), -1e4, logits)
    if kind == "masks":
        finite = torch.where(here & (target == 1), 1e4, finite)
    logits = torch.where(finite.abs() == 1e4, finite * math.inf, logits)
    if kind == "indices":
        target = labels
    return logits, finite, target, None if kind in ("soft", "masks") else labels


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("kind", ["indices", "one-hot", "unlabelled", "soft", "masks"])
@both
def test_a_class_of_probability_zero_adds_nothing(monkeypatch, name, kind, reduction, on_host):
    """Even if its logit is -inf, as of class indices: value, gradient and second derivative."""
    if not on_host:
        monkeypatch.setattr("dilated_ce.weighted_ce.on_host", lambda tensor: False)
        monkeypatch.setattr("dilated_ce.target.indices_of", lambda target: None)
    logits, finite, target, labels = with_impossible_classes(kind)
    options = {"mode": "multilabel"} if kind == "masks" else {}

    def loss(z):
        return LOSSES[name](z, target, reduction=reduction, **options)

    def gradients(z):
        z = z.clone().requires_grad_()
        alone = torch.autograd.grad(loss(z).sum(), z, retain_graph=True)[0]
        (first,) = torch.autograd.grad(loss(z).sum(), z, create_graph=True)
        return alone, first, torch.autograd.grad(first.square().sum(), z)[0]

    torch.testing.assert_close(loss(logits), loss(finite), **EXACT)
    found = gradients(logits)
    torch.testing.assert_close(found, gradients(finite), **EXACT)
    assert all((gradient[logits.isinf()] == 0).all() for gradient in found)
    if labels is not None:
        weights = expected_weights(name, labels, 4)
        leaf = logits.clone().requires_grad_()
        expected = weights * F.cross_entropy(leaf, labels, reduction="none")
        expected = expected if reduction == "none" else expected.sum() / (labels >= 0).sum()
        torch.testing.assert_close(loss(logits), expected, **EXACT)
        (wanted,) = torch.autograd.grad(expected.sum(), leaf)
        torch.testing.assert_close(found[0], wanted, **EXACT)
    if reduction == "mean":  # forward derivatives
        tangent = torch.ones_like(logits).cumsum(-1)
        ours, wanted = (torch.func.jvp(loss, (z,), (tangent,)) for z in (logits, finite))
        torch.testing.assert_close(ours, wanted, **EXACT)


@both
def test_the_gradient_to_a_probability_of_zero_is_that_of_the_cross_entropy(name):
    soft, logits = soft_and_logits(unlabelled=False)
    with torch.no_grad():
        soft[:, 0] = 0
        soft /= soft.sum(1, keepdim=True)
    soft.requires_grad_()
    weights = expected_weights(name, soft.argmax(1))
    losses = F.cross_entropy(logits, soft, reduction="none")
    expected = torch.autograd.grad((weights * losses).mean(), (logits, soft))
    found = torch.autograd.grad(LOSSES[name](logits, soft), (logits, soft))
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
@both
def test_an_infinite_logit_of_the_wrong_class_is_no_number_to_hide(name, mode):
    """Nor is NaN."""
    logits, _, target, _ = with_impossible_classes("masks" if mode == "multilabel" else "soft")
    for wrong in (-math.inf, math.nan):
        z = torch.where(target > 0, wrong, 0) if wrong < 0 else torch.full_like(logits, wrong)
        assert not LOSSES[name](z, target, mode=mode).isfinite()


def test_large_logits_stay_finite():
    labels, _ = labels_and_logits((2, 6, 6), dtype=torch.float32)
    logits = torch.full((2, 3, 6, 6), 3e38)
    logits[:, 1] = -3e38
    logits.requires_grad_()
    loss = dilated_balanced_cross_entropy(logits / 10, labels, 1)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@both
def test_the_map_adds_up_to_the_sum(name, smoothing):
    labels, logits = labels_and_logits((2, 9, 8), ignored=12)
    options = {"label_smoothing": smoothing}
    total = LOSSES[name](logits, labels, reduction="sum", **options)
    by_voxel = LOSSES[name](logits, labels, reduction="none", **options)
    torch.testing.assert_close(by_voxel.sum(), total, **EXACT)
    assert (by_voxel.view(-1)[:12] == 0).all()
    weights = WEIGHTS[name](labels, num_classes=3)
    entropy = F.cross_entropy(logits, labels, reduction="none", **options)
    np.testing.assert_allclose(by_voxel.detach(), (weights * entropy).detach(), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("told", [torch.float64, torch.bfloat16, torch.bool, torch.uint8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_of_any_dtype_are_taken_in_that_of_the_loss(name, told, dtype):
    generator = torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 9, 8), generator=generator)
    target = F.one_hot(labels, 3).movedim(-1, 1)
    target[0, :, :2] = 0  # unlabelled, so that these are no plain indices
    logits = torch.randn(target.shape, generator=generator).to(dtype).requires_grad_()
    loss = LOSSES[name](logits, target.to(told))
    assert loss.dtype == torch.float32
    expected = LOSSES[name](logits, target.float())
    torch.testing.assert_close(loss, expected)
    (ours,) = torch.autograd.grad(loss, logits)
    (reference,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_backward_pass_of_half_precision_is_computed_in_float32(dtype, create_graph):
    """The first takes what the forward pass has left, later ones compute it anew."""
    generator = torch.manual_seed(0)
    logits = (4 * torch.randn(2, 5, 9, 8, generator=generator)).to(dtype).requires_grad_()
    labels = torch.randint(0, 5, (2, 9, 8), generator=generator)

    def gradients(scores):
        loss = adaptive_dilated_cross_entropy(scores, labels, label_smoothing=0.1, reduction="sum")
        first = torch.autograd.grad(loss, logits, retain_graph=True)[0]
        return first, torch.autograd.grad(loss, logits, create_graph=create_graph)[0].detach()

    expected = gradients(logits.float())
    for found, wanted in zip(gradients(logits), expected, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
