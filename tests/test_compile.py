"""The loss in compiled and exported programs: one graph, the same numbers."""

import math

import pytest
import torch
from losses import LOSSES, MODULES, WEIGHTS
from torch._dynamo.utils import counters
from torch.export import Dim

from dilated_ce import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    adaptive_dilated_cross_entropy,
    dilate_labels,
    dilated_balanced_cross_entropy,
)

IN_NEWER = pytest.mark.skipif(
    torch.__version__.startswith("2.4"), reason="PyTorch 2.4 compiles these for each size"
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def pair():
    generator = torch.manual_seed(0)
    target = torch.randint(0, 3, (3, 20, 22), generator=generator)
    target[0, :3] = -100
    return torch.randn(3, 3, 20, 22, generator=generator, requires_grad=True), target


@pytest.mark.parametrize(
    "options",
    [
        {"radius": 2.5},
        {},
        {"spacing": (0.7, 1.5), "label_smoothing": 0.1, "weight": [1.0, 2.0, 0.5]},
        {"reduction": "none"},
        {"radius": 2.5, "volumes": "image", "spacing": (0.7, 1.5), "label_smoothing": 0.1},
        {"radius": [1, 2, 3], "reduction": "none"},
        {"radius": 2.5, "volumes": [900, 800, 700], "reduction": "sum"},
        {"radius": 2.5, "volumes": [900, 800, 700], "num_voxels": 1000, "weight": [1, 2, 3]},
    ],
)
def test_compiles_into_one_graph(pair, options):
    logits, target = pair
    torch.compiler.reset()

    function = dilated_balanced_cross_entropy if "radius" in options else None
    function = function or adaptive_dilated_cross_entropy

    def loss(logits, target):
        return function(logits, target, **options)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))
    (ours,) = torch.autograd.grad(compiled(logits, target).sum(), logits)
    (expected,) = torch.autograd.grad(loss(logits, target).sum(), logits)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("mode", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", ["batch", "adaptive"])
def test_targets_of_probabilities_compile_into_one_graph(name, mode, reduction):
    torch.compiler.reset()
    generator = torch.manual_seed(0)
    logits = torch.randn(2, 1 if mode == "binary" else 3, 9, 8, generator=generator)
    target = torch.rand(logits.shape, generator=generator)
    if mode == "multiclass":
        target /= target.sum(1, keepdim=True)
    target[0, :, :2] = -100
    criterion = MODULES[name](mode=mode, label_smoothing=0.1, reduction=reduction)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, target), criterion(logits, target))
    target[0, 0, 4, 4] = 3
    with pytest.raises(ValueError, match="target: got"):
        compiled(logits, target)


@pytest.mark.parametrize("kind", ["indices", "one-hot", "unlabelled", "soft", "masks"])
def test_a_class_of_probability_zero_adds_nothing(kind):
    """Even if its logit is -inf; the masks also where it is inf and the mask holds the voxel."""
    torch.compiler.reset()
    generator = torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 9, 8), generator=generator)
    target = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    if kind == "unlabelled":
        target[0, :, 0] = 0
    if kind == "soft":
        target = (target + target.roll(1, 1)) / 2
    logits = torch.randn(target.shape, generator=generator)
    logits[target == 0] = -math.inf
    if kind == "masks":
        logits[target == 1] = math.inf
        logits[:, :, 4:] = 0
    logits.requires_grad_()
    target = labels if kind == "indices" else target
    criterion = DilatedBalancedCELoss(1, mode="multilabel" if kind == "masks" else "multiclass")
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    assert compiled(logits, target).isfinite()
    torch.testing.assert_close(compiled(logits, target), criterion(logits, target))
    found, expected = (
        torch.autograd.grad(loss(logits, target), logits)[0] for loss in (compiled, criterion)
    )
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_compiles_under_autocast(pair, name):
    logits, target = pair
    torch.compiler.reset()
    layer = torch.nn.Conv2d(3, 3, 1)

    def loss(logits, target):
        with torch.autocast("cpu", torch.bfloat16):
            return LOSSES[name](layer(logits), target)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value = compiled(logits, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits, target), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "criterion",
    [
        DilatedBalancedCELoss([1.0, 2.5], spacing=(2.0, 1.0, 1.0)),
        AdaptiveDilatedCELoss(spacing=(2.0, 1.0, 1.0)),
    ],
)
def test_inductor_in_3d_with_dynamic_shapes(criterion):
    torch.compiler.reset()
    compiled = torch.compile(criterion, fullgraph=True, dynamic=True)
    for shape in ((2, 6, 9, 8), (1, 7, 8, 9), (3, 1, 1, 2)):
        generator = torch.manual_seed(0)
        target = torch.randint(0, 2, shape, generator=generator)
        logits = torch.randn(shape[0], 2, *shape[1:], generator=generator, requires_grad=True)
        torch.testing.assert_close(compiled(logits, target), criterion(logits, target))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("multiclass", {"radius": 2.0}),
        pytest.param("multiclass", {}, marks=IN_NEWER),
        pytest.param("multiclass", {"radius": [1, 2, 3], "volumes": "image"}, marks=IN_NEWER),
        ("multilabel", {}),
        ("multilabel", {"radius": [1, 2, 2], "volumes": [[9, 5], [9, 5], [9, 5]]}),
    ],
)
def test_batches_of_another_size_are_not_compiled_again(mode, options):
    """PyTorch gives up after 8 graphs, and a last batch of an epoch is often smaller."""
    torch.compiler.reset()
    counters.clear()
    module = DilatedBalancedCELoss if "radius" in options else AdaptiveDilatedCELoss
    criterion = module(mode=mode, **options)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    for batch in range(2, 14):
        logits = torch.randn(batch, 3, 9, 8, generator=torch.manual_seed(batch))
        target = torch.randint(0, 3, (batch, 9, 8), generator=torch.manual_seed(batch))
        if mode == "multilabel":
            target = (logits > 0.5).long()
        torch.testing.assert_close(compiled(logits, target), criterion(logits, target))
    assert counters["stats"]["unique_graphs"] <= 3


def test_compiled_code_names_a_wrong_label(pair):
    logits, target = pair
    torch.compiler.reset()
    compiled = torch.compile(DilatedBalancedCELoss(1), fullgraph=True, backend="aot_eager")
    with pytest.raises(ValueError, match="got label 3, expected 0"):
        compiled(logits, target.where(target != 2, 3))


class Network(torch.nn.Module):
    """A network with its loss."""

    def __init__(self, criterion):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 3, 3, padding=1)
        self.criterion = criterion

    def forward(self, image, target):
        return self.criterion(self.layer(image), target)


@pytest.mark.parametrize("name", LOSSES)
def test_exports_with_the_network_around_it(pair, name):
    _, target = pair
    network = Network(MODULES[name]())
    image = torch.randn(3, 1, 20, 22, generator=torch.manual_seed(0))
    exported = torch.export.export(network, (image, target)).module()
    torch.testing.assert_close(exported(image, target), network(image, target))


@IN_NEWER
@pytest.mark.parametrize("mode", ["multiclass", "soft", "multilabel"])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("classes", [2, 3, 9])
@pytest.mark.parametrize("name", LOSSES)
def test_exports_for_batches_of_any_size(name, classes, named, mode):
    """As `F.cross_entropy` does: with a named dimension and with one that is found out."""
    batch = Dim("batch", min=2, max=64) if named else Dim.DYNAMIC
    generator = torch.manual_seed(0)
    logits = torch.randn(8, classes, 16, 15, generator=generator)
    target = torch.randint(0, classes, (8, 16, 15), generator=generator)
    target[0, :3] = -100
    if mode == "soft":
        target = torch.rand(logits.shape, generator=generator).softmax(1)
    elif mode == "multilabel":
        target = (logits > 1).float()
    criterion = MODULES[name](mode=mode if mode == "multilabel" else "multiclass")
    dynamic = ({0: batch}, {0: batch})
    program = torch.export.export(criterion, (logits, target), dynamic_shapes=dynamic).module()
    for size in (2, 3, 8):
        part = logits[:size], target[:size]
        torch.testing.assert_close(program(*part), criterion(*part))


@pytest.mark.parametrize("name", MODULES)
def test_an_export_with_images_of_any_size(name):
    """From 3 voxels on, whatever the number of classes."""
    generator = torch.manual_seed(0)
    logits = torch.randn(2, 5, 12, 13, generator=generator)
    target = torch.randint(0, 5, (2, 12, 13), generator=generator)
    height, width = (Dim(axis, min=3, max=64) for axis in ("height", "width"))
    dynamic = ({2: height, 3: width}, {1: height, 2: width})
    criterion = MODULES[name]()
    program = torch.export.export(criterion, (logits, target), dynamic_shapes=dynamic).module()
    for rows, columns in ((5, 12), (12, 5), (3, 4)):
        part = logits[:, :, :rows, :columns], target[:, :rows, :columns]
        torch.testing.assert_close(program(*part), criterion(*part))


class Marked(torch.Tensor):
    """A subclass that changes nothing, as MONAI's MetaTensor does in a loss."""


@pytest.mark.parametrize("which", ["logits", "target", "both"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_subclass_of_tensors_compiles(pair, name, which):
    logits, target = (tensor.detach() for tensor in pair)
    expected = LOSSES[name](logits, target)
    if which != "target":
        logits = logits.as_subclass(Marked)
    if which != "logits":
        target = target.as_subclass(Marked)
    torch.compiler.reset()
    compiled = torch.compile(MODULES[name](), backend="aot_eager")
    torch.testing.assert_close(compiled(logits, target), expected, check_device=True)


def test_operators_are_registered_as_pytorch_wants_them(pair):
    """Schema, fake results and dispatch, by PyTorch's own check."""
    _, target = pair
    samples = [
        ("dilate_masks", ("labels", target, 3, [2.0] * 3, [1.0, 1.0], -100)),
        ("dilate_masks", ("labels", target.clamp(min=0), 20, None, [1.0, 1.0], None)),
        ("dilate_masks", ("labels", target, 3, [1.0, 2.0, math.inf], [1.0, 1.0], -100)),
        ("dilate_masks", ("labels", target.clamp(min=0), 3, [99.0] * 3, [1.0, 1.0], None)),
        ("most_probable", (torch.eye(3).expand(2, 3, 3), -100)),
        ("channel_labels", (torch.eye(3).expand(2, 3, 3), 0)),
        ("look_up", (torch.zeros(32, dtype=torch.uint8), torch.ones(1, 3), 3, [4, 4], False)),
        ("look_up", (torch.zeros(24, dtype=torch.uint8), torch.ones(2, 20), 2, [4], True)),
        ("unpack", (torch.zeros(32, dtype=torch.uint8), 3, 3, [4, 4])),
    ]
    for name, arguments in samples:
        operator = getattr(torch.ops.dilated_ce, name).default
        torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_compile(pair, name):
    _, target = pair
    torch.compiler.reset()

    def weigh(labels):
        return WEIGHTS[name](labels, num_classes=3)

    compiled = torch.compile(weigh, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(target), weigh(target))


def test_dilation_compiles(pair):
    _, target = pair
    torch.compiler.reset()

    def dilate(labels):
        return dilate_labels(labels, 2, num_classes=3, ignore_index=-100)

    compiled = torch.compile(dilate, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(target), dilate(target))
