"""The loss in compiled and exported programs: one graph, the same numbers."""

import math

import pytest
import torch
from torch._dynamo.utils import counters

from dilated_ce import DilatedBalancedCELoss, dilate_labels, dilated_balanced_cross_entropy

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
        {},
        {"radius": "auto"},
        {"balance": "image", "spacing": (0.7, 1.5), "label_smoothing": 0.1},
        {"overlap": "max", "reduction": "none"},
        {"volumes": [900, 800, 700], "reduction": "sum"},
    ],
)
def test_compiles_into_one_graph(pair, options):
    logits, target = pair
    torch.compiler.reset()

    def loss(logits, target):
        return dilated_balanced_cross_entropy(logits, target, **{"radius": 2.5, **options})

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))
    (ours,) = torch.autograd.grad(compiled(logits, target).sum(), logits)
    (expected,) = torch.autograd.grad(loss(logits, target).sum(), logits)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("mode", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_targets_of_probabilities_compile_into_one_graph(mode, reduction):
    torch.compiler.reset()
    generator = torch.manual_seed(0)
    logits = torch.randn(2, 1 if mode == "binary" else 3, 9, 8, generator=generator)
    target = torch.rand(logits.shape, generator=generator)
    if mode == "multiclass":
        target /= target.sum(1, keepdim=True)
    target[0, :, :2] = -100
    criterion = DilatedBalancedCELoss(1.5, mode=mode, label_smoothing=0.1, reduction=reduction)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, target), criterion(logits, target))
    target[0, 0, 4, 4] = 3
    with pytest.raises(ValueError, match="target: got"):
        compiled(logits, target)


def test_compiles_under_autocast(pair):
    logits, target = pair
    torch.compiler.reset()
    layer = torch.nn.Conv2d(3, 3, 1)

    def loss(logits, target):
        with torch.autocast("cpu", torch.bfloat16):
            return dilated_balanced_cross_entropy(layer(logits), target, 2)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value = compiled(logits, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits, target), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_inductor_in_3d_with_dynamic_shapes():
    criterion = DilatedBalancedCELoss([1.0, 2.5], spacing=(2.0, 1.0, 1.0))
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
        pytest.param("multiclass", {"radius": [1, 2, 3], "overlap": "max"}, marks=IN_NEWER),
        ("multilabel", {"radius": [1, 2, 2], "volumes": [[9, 5], [9, 5], [9, 5]]}),
    ],
)
def test_batches_of_another_size_are_not_compiled_again(mode, options):
    """PyTorch gives up after 8 graphs, and a last batch of an epoch is often smaller."""
    torch.compiler.reset()
    counters.clear()
    criterion = DilatedBalancedCELoss(mode=mode, **options)
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


def test_exports_with_the_network_around_it(pair):
    _, target = pair

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 3, 3, padding=1)
            self.criterion = DilatedBalancedCELoss(2.0)

        def forward(self, image, target):
            return self.criterion(self.layer(image), target)

    network, image = Network(), torch.randn(3, 1, 20, 22, generator=torch.manual_seed(0))
    exported = torch.export.export(network, (image, target)).module()
    torch.testing.assert_close(exported(image, target), network(image, target))


def test_operators_are_registered_as_pytorch_wants_them(pair):
    """Schema, fake results and dispatch, by PyTorch's own check."""
    _, target = pair
    samples = [
        ("dilated_masks", ("labels", target, [2.0] * 3, [1.0, 1.0], -100)),
        ("dilated_masks", ("labels", target.clamp(min=0), [2.0] * 20, [1.0, 1.0], None)),
        ("dilated_masks", ("labels", target, [math.inf] * 3, [1.0, 1.0], -100)),
        ("dilated_masks", ("labels", target.clamp(min=0), [99.0] * 3, [1.0, 1.0], None)),
        ("most_probable", (torch.eye(3).expand(2, 3, 3), -100)),
        ("channel_labels", (torch.eye(3).expand(2, 3, 3), 0)),
        ("look_up", (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.ones(1, 3), 3, "sum")),
        ("look_up", (torch.zeros(6, 4, dtype=torch.uint8), torch.ones(2, 20), 2, "max")),
    ]
    for name, arguments in samples:
        operator = getattr(torch.ops.dilated_ce, name).default
        torch.library.opcheck(operator, arguments)


def test_dilation_compiles(pair):
    _, target = pair
    torch.compiler.reset()

    def dilate(labels):
        return dilate_labels(labels, 2, num_classes=3, ignore_index=-100)

    compiled = torch.compile(dilate, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(target), dilate(target))
