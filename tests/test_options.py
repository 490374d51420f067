"""Wrong input fails at the door, and the message says what was got, expected and the fix."""

import math
import re

import numpy as np
import pytest
import torch
from losses import LOSSES, MODULES, WEIGHTS

from dilated_ce import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    adaptive_dilated_cross_entropy,
    adaptive_dilated_weights,
    dilate_labels,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)

LABELS = torch.zeros(2, 8, 8, dtype=torch.long)
LOGITS = torch.zeros(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("error", "message", "radius", "options"),
    [
        (ValueError, "radius: got -1, expected >= 0", -1, {}),
        (ValueError, "radius: got nan, expected >= 0", math.nan, {}),
        (ValueError, "radius: got [1.0, -2.0, 3.0]", [1.0, -2.0, 3.0], {}),
        (ValueError, "radius: got 2 values for 3 classes", [1.0, 2.0], {}),
        (ValueError, "radius: got an empty sequence", [], {}),
        (TypeError, "radius: got '3', expected a number, or a list", "3", {}),
        (TypeError, "radius: got 'auto', expected a number", "auto", {}),
        (TypeError, "radius: got True, expected a number", True, {}),
        (ValueError, "spacing: got 3 values ((1", 1, {"spacing": (1, 1, 1)}),
        (TypeError, "radius: got {0: 1, 1: 2}, expected", {0: 1, 1: 2}, {}),
        (TypeError, "radius: got {1}, expected", {1}, {}),
        (TypeError, "expected a number, or a list", (r for r in (1, 2, 3)), {}),
        (TypeError, "radius: got 1000", 10**400, {}),
        (TypeError, "spacing: got array(1.), expected", 1, {"spacing": np.array(1.0)}),
        (ValueError, "ignore_index: got 1000", 1, {"ignore_index": 10**30}),
        (ValueError, "spacing: got (1, 0), expected numbers > 0", 1, {"spacing": (1, 0)}),
        (ValueError, "spacing: got (1, 1e-170), expected", 1, {"spacing": (1, 1e-170)}),
        (ValueError, "spacing: got (1, 1e+160), expected", 1, {"spacing": (1, 1e160)}),
        (ValueError, "spacing: got (1, nan), expected numbers > 0", 1, {"spacing": (1, math.nan)}),
        (ValueError, "spacing: got (1, inf), expected numbers > 0", 1, {"spacing": (1, math.inf)}),
        (TypeError, "spacing: got 1.0, expected", 1, {"spacing": 1.0}),
        (TypeError, "ignore_index: got 1.5 (float)", 1, {"ignore_index": 1.5}),
        (TypeError, "expected a number, or a list", torch.tensor([1.0, 2, 3]), {}),
        (TypeError, "radius: got a ndarray of shape (3,), expected", np.ones(3), {}),
    ],
)
def test_radius_spacing_and_ignored_label(error, message, radius, options):
    calls = [
        lambda: dilate_labels(LABELS, radius, num_classes=3, **options),
        lambda: dilated_balanced_weights(LABELS, radius, num_classes=3, **options),
        lambda: dilated_balanced_cross_entropy(LOGITS, LABELS, radius, **options),
        lambda: DilatedBalancedCELoss(radius, **options)(LOGITS, LABELS),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(message)):
            call()


def test_the_bounds_of_a_voxel_size_are_sizes():
    for size in (1e-12, 1e15):
        masks = dilate_labels(LABELS, size, num_classes=3, spacing=[size] * (LABELS.ndim - 1))
        assert torch.equal(masks, dilate_labels(LABELS, 1, num_classes=3))


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "spacing: got (1, 0), expected numbers > 0", {"spacing": (1, 0)}),
        (ValueError, "spacing: got 3 values ((1", {"spacing": (1, 1, 1)}),
        (TypeError, "ignore_index: got 1.5 (float)", {"ignore_index": 1.5}),
        (ValueError, "weight: got shape (), expected (", {"weight": 5.0}),
        (ValueError, "weight: got shape (3, 1, 1)", {"weight": np.ones((3, 1, 1))}),
        (ValueError, "weight: got shape (2,), expected (3,)", {"weight": [1, 2]}),
        (ValueError, "], expected finite numbers >= 0", {"weight": [1, -1, 1]}),
        (ValueError, "[0.0, 0.0, 0.0], expected more than 0", {"weight": [0, 0, 0]}),
        (ValueError, "weight: got [1e+30, 1.0", {"weight": np.array([1e30, 1, 1])}),
        (TypeError, "weight: got 'a'", {"weight": "a"}),
        (TypeError, "process_group: got 'all', expected 'world'", {"process_group": "all"}),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_what_both_losses_take(name, error, message, options):
    calls = [
        lambda: WEIGHTS[name](LABELS, num_classes=3, **options),
        lambda: LOSSES[name](LOGITS, LABELS, **options),
        lambda: MODULES[name](**options)(LOGITS, LABELS),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(message)):
            call()


@pytest.mark.parametrize("name", ["radius", "volumes", "num_voxels"])
def test_there_is_nothing_to_choose_in_the_adaptive_loss(name):
    for call in (
        lambda: adaptive_dilated_weights(LABELS, num_classes=3, **{name: 1}),
        lambda: adaptive_dilated_cross_entropy(LOGITS, LABELS, **{name: 1}),
        lambda: AdaptiveDilatedCELoss(**{name: 1}),
    ):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            call()


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "volumes: got 'global', expected 'batch' or 'image'", {"volumes": "global"}),
        (ValueError, "[1.0, -1.0, 1.0], expected finite", {"volumes": [1.0, -1.0, 1.0]}),
        (ValueError, "[1.0, nan, 1.0], expected finite", {"volumes": [1.0, math.nan, 1.0]}),
        (ValueError, "[1.0, inf, 1.0], expected finite", {"volumes": [1.0, math.inf, 1.0]}),
        (ValueError, "volumes: got shape (), expected (", {"volumes": 5.0}),
        (ValueError, "volumes: got shape (2,), expected (3,)", {"volumes": [1, 2]}),
        (ValueError, "volumes: got shape (1, 3), expected (", {"volumes": [[1, 2, 3]]}),
        (TypeError, "volumes: got dtype torch.bool", {"volumes": [True, True, True]}),
        (TypeError, "volumes: got ['a', 'b', 'c'], expected 'batch'", {"volumes": ["a", "b", "c"]}),
        (TypeError, "volumes: got None, expected 'batch', 'image', or", {"volumes": None}),
        (ValueError, "volumes: got [0.0, 0.0, 0.0], expected the vox", {"volumes": [0, 0, 0]}),
        (ValueError, "volumes: got [1.0, 0.0", {"volumes": [1.0, 0.0, 1e-40]}),
        (ValueError, "volumes: got [1.0, 1.0, 1e+16]", {"volumes": [1.0, 1.0, 1e16]}),
        (ValueError, "num_voxels: got 9 with volumes='batch', expected", {"num_voxels": 9}),
        (
            ValueError,
            "num_voxels: got 9 with volumes='image'",
            {"num_voxels": 9, "volumes": "image"},
        ),
        (ValueError, "num_voxels: got 0", {"num_voxels": 0, "volumes": [1, 2, 3]}),
        (ValueError, "num_voxels: got nan", {"num_voxels": math.nan, "volumes": [1, 2, 3]}),
        (ValueError, "num_voxels: got inf", {"num_voxels": math.inf, "volumes": [1, 2, 3]}),
        (ValueError, "num_voxels: got 1000", {"num_voxels": 10**400, "volumes": [1, 2, 3]}),
        (TypeError, "num_voxels: got '9'", {"num_voxels": "9", "volumes": [1, 2, 3]}),
        (ValueError, "num_voxels: got 7 with volumes=[1.0, 2.0, 3.0], expected a number between",
         {"num_voxels": 7, "volumes": [1, 2, 3]}),
        (ValueError, "num_voxels: got 2 with", {"num_voxels": 2, "volumes": [1, 2, 3]}),
        (ValueError, "num_voxels: got 2 with", {"num_voxels": 2, "volumes": [0, 2, 3]}),
        (ValueError, "both in voxels", {"num_voxels": 900, "volumes": [0.7, 0.2, 0.3]}),
    ],
)  # fmt: skip
def test_what_the_balanced_loss_takes(error, message, options):
    calls = [
        lambda: dilated_balanced_weights(LABELS, 1, num_classes=3, **options),
        lambda: dilated_balanced_cross_entropy(LOGITS, LABELS, 1, **options),
        lambda: DilatedBalancedCELoss(1, **options)(LOGITS, LABELS),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(message)):
            call()


@pytest.mark.parametrize(
    "options",
    [
        {"radius": -1},
        {"radius": [1, math.nan]},
        {"radius": 1, "volumes": "global"},
        {"radius": 1, "volumes": [[1, 2]]},
        {"radius": [1, 2, 3], "volumes": [1, 2]},
        {"radius": 1, "num_voxels": 9},
        {"radius": [1, 2, 3], "weight": [1, 2]},
        {"radius": [1, 2, 3], "weight": [0, 0, 0]},
        {"radius": [1, 2, 3], "weight": 2.0},
    ],
)
def test_the_balanced_module_fails_when_it_is_made(options):
    with pytest.raises(ValueError, match="expected"):
        DilatedBalancedCELoss(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"spacing": (1, -1)},
        {"spacing": []},
        {"spacing": [1, 1, 1, 1]},
        {"reduction": "average"},
        {"label_smoothing": 1.5},
        {"label_smoothing": math.nan},
        {"mode": "panoptic"},
        {"weight": [1, math.nan]},
        {"weight": [0, 0]},
        {"ignore_index": 10**30},
        {"mode": "binary", "weight": [1, 2]},
    ],
)
@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_modules_fail_when_they_are_made(module, options):
    with pytest.raises(ValueError, match="expected"):
        module(**options)


def test_the_module_fails_when_it_is_made_with_what_is_no_group():
    for module in MODULES.values():
        with pytest.raises(TypeError, match="process_group: got 'all', expected 'world'"):
            module(process_group="all")


def test_numbers_are_shown_as_they_were_written():
    module = DilatedBalancedCELoss(1, weight=[0.1, 0.9, 1e-5], volumes=[1e7, 123456, 3])
    assert "weight=[0.1, 0.9, 1e-05]" in repr(module)
    assert "volumes=[10000000.0, 123456.0, 3.0]" in repr(module)
    with pytest.raises(ValueError, match=r"weight: got \[0\.1, -0\.3\], expected"):
        AdaptiveDilatedCELoss(weight=[0.1, -0.3])


def test_the_module_takes_one_weight_for_all_channels():
    module = DilatedBalancedCELoss([1, 2], mode="multilabel", weight=2.0)
    assert module.weight == 2


@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
@pytest.mark.parametrize("ignore_index", [1.5, "0", True])
def test_an_ignored_label_of_the_wrong_type_in_every_kind_of_target(mode, ignore_index):
    target = torch.zeros(2, 3, 8, 8)
    target[:, 0] = 1
    with pytest.raises(TypeError, match="ignore_index: got"):
        dilated_balanced_cross_entropy(LOGITS, target, 1, mode=mode, ignore_index=ignore_index)


@pytest.mark.parametrize("label_smoothing", [None, "0.1", True])
def test_label_smoothing_of_the_wrong_type(label_smoothing):
    with pytest.raises(TypeError, match=r"label_smoothing: got .*, expected a number, 0 to 1"):
        DilatedBalancedCELoss(1, label_smoothing=label_smoothing)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_num_classes_too_small(num_classes):
    with pytest.raises(ValueError, match=f"num_classes: got {num_classes}, expected at least 1"):
        dilate_labels(LABELS, 1, num_classes=num_classes)


@pytest.mark.parametrize("num_classes", [2.0, "2", True])
def test_num_classes_of_the_wrong_type(num_classes):
    with pytest.raises(TypeError, match=r"num_classes: got .* expected an int"):
        dilated_balanced_weights(LABELS, 1, num_classes=num_classes)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (LABELS.float(), TypeError, "got dtype torch.float32, expected integer class indices"),
        (LABELS.cfloat(), TypeError, "got dtype torch.complex64"),
        (np.zeros((2, 8, 8), int), TypeError, "got ndarray, expected a torch.Tensor"),
        (LABELS[0, 0], ValueError, "got shape (8,), expected (B, *spatial)"),
        (LABELS[..., None, None], ValueError, "got shape (2, 8, 8, 1, 1), expected (B, *spatial)"),
        (LABELS + 3, ValueError, "got label 3, expected 0 ... 2 for 3 classes"),
        (LABELS - 1, ValueError, "got label -1, expected 0 ... 2 for 3 classes"),
        (
            torch.arange(2 * 64).view(2, 8, 8).clamp(max=8),
            ValueError,
            "got labels 3, 4, 5, 6, 7, ..., expected 0 ... 2",
        ),
        (
            torch.arange(2 * 64).view(2, 8, 8).clamp(max=7),
            ValueError,
            "got labels 3, 4, 5, 6, 7, expected 0 ... 2",
        ),
    ],
)
def test_labels(labels, error, message):
    for call in (dilate_labels, dilated_balanced_weights):
        with pytest.raises(error, match=re.escape(f"labels: {message}")):
            call(labels, 1, num_classes=3)


@pytest.mark.parametrize("ignore_index", [None, -1, -100])
def test_a_label_that_64_signed_bits_cannot_hold_is_no_negative_one(ignore_index):
    labels = torch.tensor([[0, -1, 1]]).to(torch.uint64)  # 2^64 - 1 in the middle
    with pytest.raises(ValueError, match="labels: got label 9223372036854775807, exp"):
        dilate_labels(labels, 1, num_classes=2, ignore_index=ignore_index)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64])
def test_volumes_and_weights_in_unsigned_integers(dtype):
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    options = {"volumes": [60, 50, 40], "weight": [1, 2, 3]}
    expected = dilated_balanced_weights(labels, 1, num_classes=3, **options)
    options = {name: torch.tensor(values).to(dtype) for name, values in options.items()}
    torch.testing.assert_close(
        dilated_balanced_weights(labels, 1, num_classes=3, **options), expected
    )


@pytest.mark.parametrize("ignore_index", [-(2**63), 2**62, 2**63 - 1])
def test_an_ignored_label_of_64_bits(ignore_index):
    labels = torch.tensor([[0, 1, 1, 2]])
    expected = dilated_balanced_weights(labels, 1, num_classes=3, ignore_index=None)
    ours = dilated_balanced_weights(labels, 1, num_classes=3, ignore_index=ignore_index)
    assert torch.equal(ours, expected)
    labels[0, 1] = ignore_index
    ours = dilated_balanced_weights(labels, 1, num_classes=3, ignore_index=ignore_index)
    assert ours[0, 1] == 0


@pytest.mark.parametrize("ignore_index", [-(2**63) - 1, 2**63])
def test_an_ignored_label_beyond_64_bits(ignore_index):
    with pytest.raises(ValueError, match=r"ignore_index: got .*, expected an integer of 64 bits"):
        dilated_balanced_weights(LABELS, 1, num_classes=3, ignore_index=ignore_index)


def test_the_least_and_the_most_that_numbers_may_be():
    labels = torch.tensor([[0, 1, 1, 2]])
    options = {"num_classes": 3, "volumes": [1e-12, 1e15, 1e15]}
    assert dilated_balanced_weights(labels, 0, **options).argmax() == 0
    for num_voxels in (1e-12, 1e15):
        weights = dilated_balanced_weights(
            labels, 0, num_classes=3, volumes=[num_voxels] * 3, num_voxels=num_voxels
        )
        torch.testing.assert_close(weights, torch.full((1, 4), 1 / 3))


def test_importance_of_channels_in_the_shape_of_pos_weight():
    target = LOGITS.new_tensor(range(3 * 64)).view(1, 3, 8, 8).remainder(3).gt(1).float()
    loss = [
        dilated_balanced_cross_entropy(
            LOGITS[:1], target, 1, mode="multilabel", weight=torch.tensor([1.0, 2, 3]).view(shape)
        )
        for shape in ((3,), (3, 1, 1))
    ]
    assert loss[0] == loss[1]


@pytest.mark.parametrize("shape", [(3, 3), (3, 1), (3,), (2, 2), ()])
def test_volumes_of_channels_come_in_pairs(shape):
    message = f"volumes: got shape {shape}, expected (3, 2): the number"
    with pytest.raises(ValueError, match=re.escape(message)):
        dilated_balanced_cross_entropy(
            LOGITS, LOGITS, 1, mode="multilabel", volumes=torch.ones(shape)
        )


def test_a_label_out_of_range_beside_ignored_ones():
    labels = LABELS.clone()
    labels[0, 0, 0], labels[0, 0, 1] = 255, 7
    message = "labels: got label 7, expected 0 ... 2 for 3 classes or ignore_index=255"
    with pytest.raises(ValueError, match=re.escape(message)):
        dilated_balanced_weights(labels, 1, num_classes=3, ignore_index=255)


def test_without_an_ignored_label_minus_100_is_wrong():
    with pytest.raises(ValueError, match="target: got label -100"):
        dilated_balanced_cross_entropy(LOGITS, LABELS - 100, 1, ignore_index=None)


@pytest.mark.parametrize(
    ("logits", "target", "error", "message"),
    [
        (
            LOGITS[..., :6],
            LABELS[:1],
            ValueError,
            "target: got shape (1, 8, 8), expected (2, 8, 6) or (2, 1, 8, 6) (class indices) or "
            "(2, 3, 8, 6) (probabilities) for logits of shape (2, 3, 8, 6).",
        ),
        (LOGITS[..., None, None], LABELS, ValueError, "logits: got shape (2, 3, 8, 8, 1, 1)"),
        (LOGITS, LABELS[:, :4], ValueError, "target: got shape (2, 4, 8), expected (2, 8, 8)"),
        (LOGITS, LABELS[:, None, :4], ValueError, "target: got shape (2, 1, 4, 8), expected"),
        (LOGITS, torch.ones_like(LOGITS), ValueError, "add up to 3, or are negative, expected 1"),
        (LOGITS, LOGITS.to(torch.cfloat), TypeError, "target: got dtype torch.complex64"),
        (LOGITS, LABELS.float(), TypeError, "target: got dtype torch.float32"),
        (LOGITS, LABELS[..., None, None], ValueError, "target: got shape (2, 8, 8, 1, 1)"),
        (LOGITS[0], LABELS[0], ValueError, "use logits[None] and target[None]"),
        (LOGITS, None, TypeError, "target: got NoneType, expected a torch.Tensor"),
        (LOGITS, LABELS + 3, ValueError, "target: got label 3, expected 0 ... 2"),
        (LOGITS.long(), LABELS, TypeError, "logits: got dtype torch.int64, expected the network"),
        (LOGITS.numpy(), LABELS, TypeError, "logits: got ndarray, expected a torch.Tensor"),
        (LOGITS[0, 0], LABELS, ValueError, "logits: got shape (8, 8), expected (B, C, *spatial)"),
        (LOGITS[:, :1], LABELS, ValueError, "logits: got shape (2, 1, 8, 8) with 1 channel"),
        (
            LOGITS,
            LABELS.to("meta"),
            ValueError,
            "target: got device meta, expected that of the logits, cpu",
        ),
    ],
)
def test_logits_and_target(logits, target, error, message):
    with pytest.raises(error, match=re.escape(message)):
        dilated_balanced_cross_entropy(logits, target, 1)


@pytest.mark.parametrize("reduction", ["average", "", None])
def test_reduction(reduction):
    with pytest.raises(ValueError, match=r"reduction: got .* expected 'mean' or 'sum' or 'none'"):
        dilated_balanced_cross_entropy(LOGITS, LABELS, 1, reduction=reduction)


def test_tensors_and_arrays_serve_as_spacing_and_single_numbers():
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(0))
    expected = dilate_labels(labels, [1.0, 2.0, 3.0], num_classes=3, spacing=(1.0, 2.0))
    for convert in (torch.tensor, np.array, list):
        spacing = convert([1.0, 2.0])
        assert torch.equal(
            dilate_labels(labels, (1.0, 2, 3.0), num_classes=3, spacing=spacing), expected
        )
    shared = dilate_labels(labels, 2.0, num_classes=3)
    for radius in (torch.tensor(2.0), np.float32(2.0), np.array(2.0), 2):
        assert torch.equal(dilate_labels(labels, radius, num_classes=np.int64(3)), shared)


def test_no_radius_is_no_radius():
    """The adaptive loss is another function, not what None stands for."""
    logits, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    for call in (
        lambda: dilated_balanced_cross_entropy(logits, labels, None),
        lambda: DilatedBalancedCELoss(None),
        lambda: dilated_balanced_weights(labels, None, num_classes=2),
        lambda: dilate_labels(labels, None, num_classes=2),
    ):
        with pytest.raises(TypeError, match="radius: got None, expected a number"):
            call()


@pytest.mark.parametrize("tiny", [[1e-300, 1.0], torch.tensor([1e-300, 1.0], dtype=torch.float64)])
def test_numbers_that_float32_takes_for_nothing_are_refused(tiny):
    for option in ("weight", "volumes"):
        with pytest.raises(ValueError, match=rf"{option}: got .*1e-300"):
            DilatedBalancedCELoss(1, **{option: tiny})


@pytest.mark.parametrize("mode", ["multilabel", "binary"])
def test_masks_of_their_own_need_a_foreground_that_counts(mode):
    logits = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"weight: got .*expected more than 0"):
        adaptive_dilated_cross_entropy(logits, logits, mode=mode, weight=[0.0])


@pytest.mark.parametrize(
    ("volumes", "num_voxels"),
    [
        ([1, 2, 3], 3),
        ([1, 2, 3], 6),
        ([0, 2, 3], 1000),  # the first class is there, and takes no part
        ([1e9 / 3, 1e9 / 7, 1e9 / 9], 1e9 / 3 + 1e9 / 7 + 1e9 / 9),  # rounded to float32
    ],
)
def test_sizes_of_a_data_set_that_its_volumes_allow(volumes, num_voxels):
    loss = DilatedBalancedCELoss(1, volumes=volumes, num_voxels=num_voxels)(LOGITS, LABELS)
    assert loss.isfinite()


def test_the_size_of_the_data_set_fits_every_channel():
    given = {"mode": "multilabel", "volumes": [[7, 1], [15, 1]]}
    for size in (8, 12, 16):  # of 8 and of 16 labelled entries: no number is right for both
        with pytest.raises(ValueError, match=r"of each channel"):
            DilatedBalancedCELoss(1, num_voxels=size, **given)
    unlabelled = {"mode": "multilabel", "volumes": [[0, 0], [15, 1]], "num_voxels": 16}
    DilatedBalancedCELoss(1, **unlabelled)


@pytest.mark.parametrize("values", [[1, 2, 3], [1.0, 2.0, 3.0], np.array([1, 2, 3])])
def test_numbers_are_kept_where_modules_are_made_without_any(values):
    """As `torch.device("meta")` makes them, to be filled from a checkpoint later."""
    with torch.device("meta"):
        criterion = DilatedBalancedCELoss(2, weight=values)
        with pytest.raises(ValueError, match="expected finite numbers >= 0"):
            DilatedBalancedCELoss(2, weight=[-value for value in values])
    assert criterion.weight.tolist() == [1, 2, 3]
    assert "weight=[1.0, 2.0, 3.0]" in repr(criterion)
