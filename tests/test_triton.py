"""The Triton kernels against plain PyTorch.

Without a GPU they run in Triton's interpreter (see conftest.py) and are compiled for one, but not
run there. With a GPU the same tests run on it.
"""

import itertools
import math
import os
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import strategies
import test_distributed
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings

from dilated_ce import _dilation, _dispatch, dilate_labels, dilated_balanced_cross_entropy
from dilated_ce._validation import AUTOMATIC

pytest.importorskip("triton", reason="Triton comes with PyTorch for GPUs, and on Linux alone")

from dilated_ce import _triton_dilation, _triton_loss, loss, morphology

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# In the interpreter, numpy divides by 0 where the result is not used.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")


@pytest.fixture
def kernels(monkeypatch):
    """Have the kernels used for every tensor that is not empty."""
    use_kernels(monkeypatch.setattr)


def use_kernels(setattr=setattr, used=True):
    for module in (loss, morphology):
        setattr(module, "has_kernels", lambda tensor: used and tensor.numel() > 0)


def random_pair(shape, num_classes, seed=0, ignored=0.1, dtype=torch.float32):
    generator = torch.manual_seed(seed)
    target = torch.randint(0, num_classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.8] = 0
    target[torch.rand(shape, generator=generator) < ignored] = -100
    logits = torch.randn(shape[0], num_classes, *shape[1:], generator=generator).to(dtype)
    return logits.to(DEVICE), target.to(DEVICE)


def loss_and_gradient(logits, target, radius, **options):
    logits = logits.detach().requires_grad_()
    value = dilated_balanced_cross_entropy(logits, target, radius, **options)
    (3 * value).backward()
    return value.detach(), logits.grad


def assert_as_in_double_precision(logits, target, radius, tolerance=1e-5, **options):
    """The kernels' loss and gradient against plain PyTorch's in float64."""
    value, gradient = loss_and_gradient(logits, target, radius, **options)
    assert value.dtype == torch.float32
    assert gradient.dtype == logits.dtype
    with pytest.MonkeyPatch.context() as patch:
        use_kernels(patch.setattr, False)
        reference, expected = loss_and_gradient(logits.double(), target, radius, **options)
    torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-6)
    scale = max(expected.abs().max().item(), 1e-12)
    torch.testing.assert_close(gradient / scale, expected / scale, check_dtype=False,
                               rtol=0, atol=tolerance)  # fmt: skip


class TestDilation:
    @settings(max_examples=8)  # each radius of each image is a call of its own
    @given(st.data())
    def test_automatic_radii_equal_plain_pytorch(self, data):
        case = data.draw(strategies.label_maps(max_classes=6, max_side=7, max_batch=3))
        spacing = data.draw(st.sampled_from([(1.0, 1.0, 1.0), (0.7, 1.4, 2.8)]))
        spacing = spacing[: case.labels.ndim - 1]
        radii = (AUTOMATIC,) * case.num_classes
        arguments = (radii, spacing, case.ignore_index)
        planes, volumes, _ = _dilation.dilated_masks("labels", case.labels, *arguments)
        found, tally = _triton_dilation.dilated_masks("labels", case.labels.to(DEVICE), *arguments)
        assert torch.equal(found.cpu(), planes)
        assert torch.equal(tally[:-1].view(volumes.shape).cpu(), volumes)

    @settings(max_examples=20)
    @given(st.data())
    def test_equals_plain_pytorch(self, data):
        case = data.draw(strategies.label_maps())
        spacing = data.draw(strategies.spacings(case.labels.ndim - 1))
        spacing = spacing or (1.0,) * (case.labels.ndim - 1)
        one_or_each = st.one_of(
            strategies.radii().map(lambda radius: [radius] * case.num_classes),
            st.lists(strategies.radii(), min_size=case.num_classes, max_size=case.num_classes),
        )
        radii = tuple(data.draw(one_or_each))
        labels = case.labels.to(DEVICE)
        ours, tally = _triton_dilation.dilated_masks(
            "labels", labels, radii, spacing, case.ignore_index
        )
        planes, volumes, _ = _dilation.dilated_masks(
            "labels", labels, radii, spacing, case.ignore_index
        )
        assert torch.equal(ours, planes)
        assert torch.equal(tally[:-1].view_as(volumes), volumes)
        assert tally[-1] == 0

    @pytest.mark.parametrize("shape", [(2, 20, 70), (1, 5, 8, 30), (3, 900)])
    @pytest.mark.parametrize("radius", [0.0, 3.0, 9.5])
    def test_in_several_passes_and_blocks(self, monkeypatch, shape, radius):
        """Segments longer than are held at a time, and images larger than a program's block."""
        monkeypatch.setattr(_triton_dilation, "MAX_LENGTHS", 4)
        monkeypatch.setattr(_triton_dilation, "BLOCK", 64)
        _triton_dilation._plan.cache_clear()
        labels = random_pair(shape, 3)[1]
        spacing = (1.0,) * (len(shape) - 1)
        ours, _ = _triton_dilation.dilated_masks("labels", labels, (radius,) * 3, spacing, -100)
        planes, _, _ = _dilation.dilated_masks("labels", labels, (radius,) * 3, spacing, -100)
        _triton_dilation._plan.cache_clear()
        assert torch.equal(ours, planes)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
    def test_dtypes_and_strides(self, kernels, dtype):
        labels = torch.randint(0, 2, (9, 8, 2), generator=torch.manual_seed(0)).movedim(2, 0)
        labels = labels.to(DEVICE)
        expected = _dilation.dilated_masks("labels", labels, (2.0, 2.0), (1.0, 1.0), None)
        ours = morphology.dilated_masks("labels", labels.to(dtype), (2.0, 2.0), (1.0, 1.0), None)
        for tensor, reference in zip(ours, expected, strict=True):
            assert torch.equal(tensor, reference)
        dilated = dilate_labels(labels.to(dtype), 2, num_classes=2)
        assert dilated.sum() == expected[1].sum()

    def test_input_is_left_as_it_was(self, kernels):
        labels = random_pair((2, 9, 12), 3)[1]
        before = labels.clone()
        for radius in (0, 2, math.inf):
            dilate_labels(labels, radius, num_classes=3, ignore_index=-100)
        assert torch.equal(labels, before)


class TestLoss:
    @settings(max_examples=20)  # the interpreter takes a second for each
    @given(st.data())
    def test_equals_plain_pytorch(self, data):
        case = data.draw(strategies.label_maps(min_classes=2))
        options = {
            "spacing": data.draw(strategies.spacings(case.labels.ndim - 1)),
            "overlap": data.draw(st.sampled_from(list(oracles.OVERLAPS))),
            "reduction": data.draw(st.sampled_from(["mean", "sum"])),
            "label_smoothing": data.draw(st.sampled_from([0.0, 0.1])),
            "ignore_index": case.ignore_index,
        }
        scope = data.draw(st.sampled_from(["batch", "image", "given"]))
        if scope == "given":
            counts = st.lists(
                st.integers(0, 1000), min_size=case.num_classes, max_size=case.num_classes
            )
            options["volumes"] = data.draw(counts.filter(any))
        else:
            options["balance"] = scope
        shape = (len(case.labels), case.num_classes, *case.labels.shape[1:])
        logits = torch.randn(shape, generator=torch.manual_seed(0)).to(DEVICE)
        with pytest.MonkeyPatch.context() as patch:
            use_kernels(patch.setattr)
            assert_as_in_double_precision(
                logits, case.labels.to(DEVICE), data.draw(strategies.radii()), **options
            )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("layout", ["first", "last", "strided"])
    @pytest.mark.parametrize("shape", [(3, 20, 24), (2, 5, 7, 6)])
    def test_half_precision_in_every_layout(self, kernels, dtype, layout, shape):
        logits, target = random_pair(shape, 3, dtype=dtype)
        if layout == "last":
            last = torch.channels_last if len(shape) == 3 else torch.channels_last_3d
            logits = logits.to(memory_format=last)
        elif layout == "strided":
            logits = logits.repeat_interleave(2, -1)[..., ::2]
        tolerance = 1e-3 if dtype == torch.float16 else 8e-3  # of the gradient, in this dtype
        assert_as_in_double_precision(logits, target, 2, tolerance)

    @pytest.mark.parametrize("num_classes", [2, 4, 5, 9, 17, 130])
    @pytest.mark.parametrize("balance", ["batch", "image"])
    def test_numbers_of_classes(self, kernels, num_classes, balance):
        logits, target = random_pair((3, 9, 12), num_classes)
        assert_as_in_double_precision(logits, target, 1.5, balance=balance)

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_all_ignored_is_zero_with_zero_gradient(self, kernels, reduction):
        logits, target = random_pair((2, 6, 6), 3, ignored=1.1)
        value, gradient = loss_and_gradient(logits, target, 2, reduction=reduction)
        assert value == 0
        assert not gradient.any()

    def test_infinite_logits(self, kernels):
        logits, target = random_pair((1, 8, 8), 3)
        logits[0, 2, 0] = -math.inf  # impossible where it is not the class
        target[0, 0] = 1
        target[0, 1] = -100
        logits[0, 1, 1] = math.inf  # ignored
        value, gradient = loss_and_gradient(logits, target, 2)
        assert value.isfinite()
        assert gradient.isfinite().all()

    def test_given_volumes_of_any_stride(self, kernels):
        logits, target = random_pair((2, 8, 8), 3)
        columns = torch.tensor([[90.0, 1.0], [40.0, 1.0], [30.0, 1.0]], device=DEVICE)
        for volumes in (columns[:, 0], torch.tensor(100.0, device=DEVICE).expand(3)):
            assert_as_in_double_precision(logits, target, 2, volumes=volumes)

    def test_numbers_of_numpy(self, kernels):
        logits, target = random_pair((2, 8, 8), 3)
        ours = {"ignore_index": np.int64(-100), "label_smoothing": np.float32(0.5)}
        assert_as_in_double_precision(logits, target, np.float32(2), **ours)

    def test_more_volumes_than_a_program_adds_up(self, kernels, monkeypatch):
        monkeypatch.setattr(_triton_loss, "MAX_VOLUMES", 4)
        assert_as_in_double_precision(*random_pair((5, 8, 8), 3), 2)

    def test_repeats_bit_by_bit(self, kernels):
        logits, target = random_pair((4, 60, 64), 3)
        first = loss_and_gradient(logits, target, 3)
        for tensor, again in zip(first, loss_and_gradient(logits, target, 3), strict=True):
            assert torch.equal(tensor, again)

    def test_a_graph_may_be_differentiated_twice(self, kernels):
        logits, target = random_pair((2, 8, 8), 3)
        logits.requires_grad_()
        value = dilated_balanced_cross_entropy(logits, target, 2)
        first, second = (
            torch.autograd.grad(value, logits, retain_graph=retain)[0] for retain in (True, False)
        )
        assert torch.equal(first, second)

    @pytest.mark.parametrize(
        "options",
        [{}, {"balance": "image"}, {"overlap": "max"}, {"volumes": [9, 4, 0]},
         {"label_smoothing": 0.2, "reduction": "sum"}],
    )  # fmt: skip
    def test_second_derivatives(self, kernels, options):
        logits, target = random_pair((2, 6, 7), 3)
        results = []
        for dtype in (torch.float32, torch.float64):
            z = logits.to(dtype).requires_grad_()
            value = dilated_balanced_cross_entropy(z, target, 2, **options)
            (gradient,) = torch.autograd.grad(value, z, create_graph=True)
            results.append(torch.autograd.grad((gradient**2).sum(), z)[0])
        torch.testing.assert_close(results[0].double(), results[1], rtol=1e-4, atol=1e-9)

    def test_what_is_left_to_plain_pytorch(self, kernels):
        """The map of the voxels, and double precision."""
        logits, target = random_pair((2, 6, 7), 3)
        voxels = dilated_balanced_cross_entropy(logits, target, 2, reduction="none")
        mean = dilated_balanced_cross_entropy(logits, target, 2)
        torch.testing.assert_close(voxels.sum() / (target != -100).sum(), mean)
        double = dilated_balanced_cross_entropy(logits.double(), target, 2)
        assert double.dtype == torch.float64


@pytest.mark.parametrize(
    ("shape", "taken"),
    [((2, 8, 8), True), ((0, 8), False), ((2, 0, 4), False), ((257, 1), False),
     ((1, 2**26), False), ((1, 2**11, 2**10, 2**10), False)],
)  # fmt: skip
def test_which_sizes_the_kernels_take(shape, taken, monkeypatch):
    class Labels:
        device = torch.device("cuda")

    Labels.shape = shape
    assert _dispatch.has_kernels(Labels) == taken
    monkeypatch.setenv("DILATED_CE_TRITON", "0")
    _dispatch._triton_is_wanted.cache_clear()
    assert not _dispatch.has_kernels(Labels)
    _dispatch._triton_is_wanted.cache_clear()


def check_process(rank, port):
    """As test_distributed has it, with the kernels and so in float32."""
    use_kernels()
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    # Every option with one of the cases in turn: all pairs take the interpreter a minute.
    cases = zip(
        test_distributed.OPTIONS,
        itertools.cycle(test_distributed.CASES),
        itertools.cycle(["mean", "sum"]),
        strict=False,
    )
    for options, case, reduction in cases:
        labels, parts = test_distributed.batch_and_parts(case)
        labels, mine = labels.to(DEVICE), parts[rank]
        logits = torch.randn(4, 4, 9, 8, generator=torch.manual_seed(1)).to(DEVICE)
        whole, whole_gradient = test_distributed.loss_and_gradient(
            logits, labels, reduction=reduction, **options
        )
        value, gradient = test_distributed.loss_and_gradient(
            logits[mine], labels[mine], dist.group.WORLD, reduction=reduction, **options
        )
        dist.all_reduce(value)
        processes = 2 if reduction == "mean" else 1
        torch.testing.assert_close(value / processes, whole)
        torch.testing.assert_close(gradient / processes, whole_gradient[mine])
    dist.destroy_process_group()


def test_two_processes_give_the_gradient_of_one(free_port):
    mp.spawn(check_process, args=(free_port,), nprocs=2)


@pytest.mark.skipif(DEVICE == "cpu", reason="an assertion on the device")
def test_a_label_out_of_range_ends_the_program():
    program = (
        "import torch; from dilated_ce import dilate_labels as d;"
        "d(torch.full((1, 4, 4), 2, device='cuda'), 1, num_classes=2); torch.cuda.synchronize()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode != 0
    assert b"a label is out of range" in ended.stderr + ended.stdout


@pytest.mark.skipif(DEVICE == "cuda", reason="there it is")
def test_kernels_are_not_imported_where_there_is_no_gpu():
    program = (
        "import sys, torch; from dilated_ce import DilatedBalancedCELoss;"
        "z = torch.randn(1, 2, 8, 8, requires_grad=True);"
        "DilatedBalancedCELoss(2)(z, torch.ones(1, 8, 8, dtype=torch.long)).backward();"
        "print(any('dilated_ce._triton' in name for name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout.split() == [b"False"]


@pytest.mark.parametrize("target", [("cuda", 80, 32), ("cuda", 90, 32), ("hip", "gfx942", 64)])
def test_kernels_compile_for_a_gpu(target, tmp_path):
    """In a process of its own, without the interpreter: compiled here, run nowhere."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "tests/compile_kernels.py", *map(str, target)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "ROCm linker" in ended.stderr:
        pytest.skip("Triton 3.0 links for AMD with ROCm's own linker")
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.split()) == 18
    if target[0] == "cuda":  # the check of the labels is in the machine code
        assert ended.stdout.count("grow_segments:asserts") == 3
