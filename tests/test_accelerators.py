"""What GPUs need: no wait for the device, no float64, few operations, little memory."""

import math
from types import SimpleNamespace

import accelerator
import oracles
import pytest
import torch

from dilated_ce import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    adaptive_dilated_cross_entropy,
    adaptive_dilated_weights,
    dilate_labels,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
    growing,
    pieces,
)

NUM_CLASSES = 3
RADII = {
    "adaptive": {},
    "one radius": {"radius": 3},
    "one each": {"radius": [1, 2.5, math.inf]},
    "none": {"radius": 0},
    "infinite": {"radius": math.inf},
    "image": {"radius": 2, "volumes": "image"},
    "given": {"radius": 2, "volumes": torch.tensor([900.0, 300.0, 200.0])},
    "data set": {
        "radius": 2, "volumes": torch.tensor([900, 300, 200]), "num_voxels": 1000,
    },
}  # fmt: skip
SHAPES = [(5, 19), (9, 13, 12), (2, 6, 9, 8)]


def compute(logits, target, **options):
    """Either loss: without a radius the adaptive one."""
    function = dilated_balanced_cross_entropy if "radius" in options else None
    return (function or adaptive_dilated_cross_entropy)(logits, target, **options)


def weigh(labels, **options):
    function = dilated_balanced_weights if "radius" in options else adaptive_dilated_weights
    return function(labels, num_classes=NUM_CLASSES, **options)


def inputs(mode, shape, dtype=torch.int64, device="cpu"):
    """Logits and a target of this mode, some voxels ignored."""
    generator = torch.manual_seed(0)
    channels = 1 if mode == "binary" else NUM_CLASSES
    full = (shape[0], channels, *shape[1:])
    labels = torch.randint(0, NUM_CLASSES, shape, generator=generator)
    target = labels
    if mode in ("one-hot", "soft"):
        target = torch.nn.functional.one_hot(labels, NUM_CLASSES).movedim(-1, 1).float()
        if mode == "soft":
            noise = torch.rand(full, generator=generator)
            target = 0.7 * target + 0.3 * noise / noise.sum(1, keepdim=True)
        target[:2, :, :3] = 0
    elif mode in ("multilabel", "binary"):
        target = (torch.rand(full, generator=generator) < 0.2).to(dtype)
        target[:1, :, :2] = 100
    else:
        target = target.to(dtype)
        target[:1, :2] = 100
    logits = torch.randn(full, generator=generator)
    return logits.to(device).requires_grad_(), target.to(device)


def as_given(options, mode):
    """The numbers in the shapes that the mode asks for."""
    options = dict(options)
    channels = 1 if mode == "binary" else NUM_CLASSES
    if mode in ("multilabel", "binary"):
        if isinstance(options.get("volumes"), torch.Tensor):
            options["volumes"] = torch.tensor([[900.0, 100.0]] * channels)
        if isinstance(options.get("radius"), list):
            options["radius"] = options["radius"][:channels]
    options["mode"] = "multiclass" if mode in ("one-hot", "soft", "multiclass") else mode
    return options


@pytest.mark.parametrize("mode", ["multiclass", "one-hot", "soft", "multilabel", "binary"])
@pytest.mark.parametrize("radius", RADII)
def test_no_loss_waits_or_needs_float64(monkeypatch, mode, radius):
    options = as_given(RADII[radius], mode)
    for shape in SHAPES:
        for dtype in (torch.int64, torch.uint8):
            logits, target = inputs(mode, shape, dtype)
            for more in (
                {"ignore_index": 100},
                {"ignore_index": 100, "label_smoothing": 0.1, "reduction": "none"},
                {"ignore_index": 100, "weight": torch.rand(logits.shape[1]) + 0.1,
                 "spacing": [1.0, 0.7, 3.0][: len(shape) - 1], "reduction": "sum"},
            ):  # fmt: skip
                expected = compute(logits, target, **options, **more)
                (gradient,) = torch.autograd.grad(expected.sum(), logits)
                with monkeypatch.context() as patch:
                    accelerator.imitate(patch)
                    with accelerator.Refusing():
                        loss = compute(logits, target, **options, **more)
                        (found,) = torch.autograd.grad(loss.sum(), logits)
                torch.testing.assert_close(loss, expected)
                torch.testing.assert_close(found, gradient)


@pytest.mark.parametrize("radius", RADII)
def test_no_weights_wait_or_need_float64(monkeypatch, radius):
    for shape in SHAPES:
        for dtype in (torch.int64, torch.uint8, torch.int16):
            _, labels = inputs("multiclass", shape, dtype)
            options = {**RADII[radius], "ignore_index": 100, "weight": torch.rand(NUM_CLASSES) + 1}
            expected = weigh(labels, **options)
            with monkeypatch.context() as patch:
                accelerator.imitate(patch)
                with accelerator.Refusing():
                    found = weigh(labels, **options)
            torch.testing.assert_close(found, expected)


def test_no_dilation_waits(monkeypatch):
    for shape in SHAPES:
        _, labels = inputs("multiclass", shape, torch.uint8)
        for radius in (0, 2, [0, 1, 2], math.inf):
            expected = oracles.dilated_masks(labels, radius, NUM_CLASSES, ignore_index=100)
            with monkeypatch.context() as patch:
                accelerator.imitate(patch)
                with accelerator.Refusing():
                    found = dilate_labels(labels, radius, num_classes=NUM_CLASSES, ignore_index=100)
            assert torch.equal(found, torch.from_numpy(expected))


def test_no_module_waits(monkeypatch):
    logits, target = inputs("multiclass", (3, 9, 8))
    modules = [
        AdaptiveDilatedCELoss(weight=[1, 2, 3], ignore_index=100),
        DilatedBalancedCELoss(2, volumes=[300, 20, 10], weight=[1, 2, 3], ignore_index=100),
    ]
    expected = [module(logits, target) for module in modules]
    accelerator.imitate(monkeypatch)
    with accelerator.Refusing():
        found = [module(logits, target) for module in modules]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("classes", [2, 9, 20])
def test_more_classes_do_not_wait_either(monkeypatch, classes):
    target = torch.randint(0, classes, (5, 11, 12), generator=torch.manual_seed(0))
    logits = torch.randn(5, classes, 11, 12, requires_grad=True)
    accelerator.imitate(monkeypatch)
    with accelerator.Refusing():
        for options in ({}, {"radius": 2}, {"radius": [*range(classes)]}):
            compute(logits, target, **options).backward()


def test_what_is_refused_here_is_refused():
    """Each of these is seen by the mode that the tests above rely on."""
    x = torch.arange(4)
    index = x > 1
    for wrong in (
        lambda: x.sum().item(),
        lambda: bool((x > 1).all()),
        lambda: x[index],
        lambda: x.nonzero(),
        lambda: x.unique(),
        lambda: x.double(),
        lambda: x.bool().to(torch.uint8) << 1,
        lambda: torch.ones((), dtype=torch.int64) << x,
        lambda: torch.tensor([1, 2]),
        lambda: x.repeat_interleave(x),
        lambda: torch.where(index),
        lambda: x.index_put_((index,), x[0]),
    ):
        with accelerator.Refusing(), pytest.raises(AssertionError):
            wrong()


@pytest.mark.parametrize("mode", ["multiclass", "soft", "multilabel", "binary"])
@pytest.mark.parametrize("radius", RADII)
def test_everything_is_made_on_the_device_of_the_logits(monkeypatch, mode, radius):
    """On "meta", where an operation that meets another device fails, as does one that waits."""
    accelerator.look_into_operators(monkeypatch)
    options = as_given(RADII[radius], mode)
    for shape in SHAPES:
        logits, target = inputs(mode, shape, device="meta")
        for more in ({}, {"weight": [1.0] * logits.shape[1], "label_smoothing": 0.1}):
            loss = compute(logits, target, ignore_index=100, **options, **more)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert loss.device.type == gradient.device.type == "meta"
            assert gradient.shape == logits.shape


def test_a_wrong_label_is_told_on_a_device_without_assertions(monkeypatch):
    """There the host has to wait, as Apple's GPUs had none."""

    def missing(*_):
        raise NotImplementedError

    monkeypatch.setattr(torch, "_assert_async", missing)
    logits, target = inputs("multiclass", (3, 9, 8))
    expected = compute(logits, target, ignore_index=100)
    accelerator.imitate(monkeypatch)
    torch.testing.assert_close(compute(logits, target, ignore_index=100), expected)
    target[0, 5, 5] = 7
    with pytest.raises(ValueError, match=r"target: a label lies outside 0 \.\.\. 2"):
        compute(logits, target, ignore_index=100)


@pytest.mark.parametrize("mode", ["multiclass", "soft", "multilabel"])
def test_a_wrong_target_is_an_assertion_on_the_device(monkeypatch, mode):
    logits, target = inputs(mode, (3, 9, 8))
    target[-1, ..., -1] = 3
    accelerator.imitate(monkeypatch)
    with pytest.raises(RuntimeError, match="target: "):
        compute(logits, target, ignore_index=100, mode=as_given({}, mode)["mode"])


@pytest.mark.parametrize(
    ("shape", "options", "dtype", "limit"),
    [
        ((8, 2, 64, 64), {"radius": 10}, torch.int64, 115),
        ((8, 2, 64, 64), {"radius": 10}, torch.uint8, 110),
        ((8, 2, 64, 64), {}, torch.int64, 150),
        ((8, 2, 64, 64), {}, torch.uint8, 140),
        ((2, 4, 24, 24, 24), {"radius": 5}, torch.int64, 130),
        ((2, 4, 24, 24, 24), {"radius": 5}, torch.uint8, 120),
        ((2, 4, 24, 24, 24), {}, torch.int64, 280),
        ((2, 4, 24, 24, 24), {}, torch.uint8, 270),
    ],
)
def test_the_number_of_operations_is_bounded(monkeypatch, shape, options, dtype, limit):
    accelerator.imitate(monkeypatch)
    assert count(shape, options, dtype) <= limit


@pytest.mark.parametrize("options", [{}, {"radius": 3}, {"radius": [1, 2, 3, 4]}])
def test_a_larger_batch_takes_as_many_operations(monkeypatch, options):
    accelerator.imitate(monkeypatch)
    counts = {
        count((batch, 4, *spatial), options, torch.int64)
        for batch in (4, 16, 64)
        for spatial in ((20, 20), (40, 30))
    }
    assert len(counts) == 1


def count(shape, options, dtype):
    """How many operations forward and backward pass take."""
    logits = torch.randn(shape, requires_grad=True)
    target = torch.randint(0, shape[1], (shape[0], *shape[2:])).to(dtype)
    with accelerator.Counting() as mode:
        compute(logits, target, **options).backward()
    return mode.total


def scratch(shape, radius, around):
    """The bytes of the largest tensors that are made at a time in one part of the dilation."""
    source = SimpleNamespace(device=torch.device("cuda"), shape=(shape[0],))
    lengths = []
    line = shape[-1] + radius
    length = 8 * (math.prod(shape[1:-1]) * line // 8)
    border = 8 * ((radius * line + radius) // 8 + 1)
    halo = 2 * border * around
    for which, part in growing._parts(source, length, border, radius, halo):
        size = (which.stop - which.start) * (part.stop - part.start + 2 * border)
        lengths.append(size * (radius + 3))
    return max(lengths)


@pytest.mark.parametrize("shape", [(20, 128, 128, 128), (2, 512, 512, 512), (64, 1, 4096, 4096)])
@pytest.mark.parametrize("radius", [1, 5, 16])
def test_memory_is_bounded_on_a_gpu(shape, radius):
    """Beside the planes themselves, whatever the size of the batch and the radius."""
    for around in (False, True):
        assert scratch(shape, radius, around) <= 4 * pieces.PIECE_ON_ACCELERATOR


def test_small_memory_changes_nothing(monkeypatch):
    for mode in ("multiclass", "multilabel"):
        for options in ({}, {"radius": 3}, {"radius": [0, 2, math.inf]}):
            for shape in SHAPES:
                logits, target = inputs(mode, shape)
                results = []
                for piece in (pieces.PIECE_ON_ACCELERATOR, 1000, 64, 8):
                    with monkeypatch.context() as patch:
                        accelerator.imitate(patch, piece)
                        results.append(
                            compute(logits, target, ignore_index=100, mode=mode, **options)
                        )
                assert len({loss.item() for loss in results}) == 1
