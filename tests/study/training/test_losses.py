import importlib
import math
import sys

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss, GeneralizedDiceLoss, TverskyLoss

from dilated_ce import adaptive_dilated_cross_entropy, dilated_balanced_cross_entropy
from dilated_ce.study.training.loss_parts import Setting
from dilated_ce.study.training.loss_spec import parse_loss, parse_losses
from dilated_ce.study.training.losses import LOSSES

LABELS = torch.randint(0, 3, (2, 1, 12, 12), generator=torch.manual_seed(0))
LOGITS = torch.randn(2, 3, 12, 12, generator=torch.manual_seed(1))
DICE = DiceLoss(to_onehot_y=True, softmax=True)(LOGITS, LABELS)
DICE_BY_TVERSKY = TverskyLoss(True, True, softmax=True)(LOGITS, LABELS)
HARDEST = F.cross_entropy(LOGITS, LABELS[:, 0], reduction="none").flatten().sort().values
OWN = "monai.losses:GeneralizedDiceLoss:to_onehot_y=true,softmax=true,w_type=simple"
GENERALISED = GeneralizedDiceLoss(to_onehot_y=True, softmax=True, w_type="simple")(LOGITS, LABELS)


ADAPTIVE = adaptive_dilated_cross_entropy(LOGITS, LABELS)


def dbce(radius, **options):
    return dilated_balanced_cross_entropy(LOGITS, LABELS, radius, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ce", F.cross_entropy(LOGITS, LABELS[:, 0])),
        (
            "balanced-ce",
            F.cross_entropy(LOGITS, LABELS[:, 0], weight=1 / torch.bincount(LABELS.flatten())),
        ),
        ("dbce:radius=2", dbce(2)),
        ("dbce:radius=2.5,volumes=image", dbce(2.5, volumes="image")),
        ("adaptive-dbce", ADAPTIVE),
        ("adaptive-dbce-dice", DICE + ADAPTIVE),
        ("dbce:radius=inf", F.cross_entropy(LOGITS, LABELS[:, 0])),
        ("dice-ce", DiceCELoss(to_onehot_y=True, softmax=True)(LOGITS, LABELS)),
        ("dice-ce", DICE + F.cross_entropy(LOGITS, LABELS[:, 0])),
        ("dice", DICE),
        ("dice-focal", DiceFocalLoss(to_onehot_y=True, softmax=True)(LOGITS, LABELS)),
        ("tversky", TverskyLoss(True, True, softmax=True, alpha=0.3, beta=0.7)(LOGITS, LABELS)),
        ("tversky:alpha=0.5,beta=0.5", DICE_BY_TVERSKY),
        ("top-k:percent=100", F.cross_entropy(LOGITS, LABELS[:, 0])),
        ("top-k:percent=25", HARDEST[-72:].mean()),
        (
            "monai.losses:GeneralizedDiceLoss:to_onehot_y=true,softmax=true,w_type=simple",
            GENERALISED,
        ),
        ("dbce-dice:radius=2", DICE + dbce(2)),
        ("dbce-dice:radius=2,volumes=image", DICE + dbce(2, volumes="image")),
    ],
)
def test_each_loss_is_what_its_name_says(text, expected):
    torch.testing.assert_close(parse_loss(text).build()(LOGITS, LABELS.to(torch.uint8)), expected)


@pytest.mark.parametrize(
    ("text", "title", "radius", "slug"),
    [
        ("ce", "CE", math.inf, "ce"),
        ("balanced-ce", "Balanced CE", 0, "balanced-ce"),
        ("dbce:radius=2.0", "DBCE (R = 2)", 2, "dbce-radius2"),
        (
            "dbce:volumes=image,radius=8",
            "DBCE (R = 8, volumes = image)",
            8,
            "dbce-radius8-volumesimage",
        ),
        ("dice-ce", "Dice + CE", None, "dice-ce"),
        ("adaptive-dbce", "Adaptive DBCE", None, "adaptive-dbce"),
        ("adaptive-dbce-dice", "Dice + Adaptive DBCE", None, "adaptive-dbce-dice"),
        ("dbce-dice:radius=0.5", "Dice + DBCE (R = 0.5)", 0.5, "dbce-dice-radius0.5"),
    ],
)
def test_names(text, title, radius, slug):
    spec = parse_loss(text)
    assert (spec.title, spec.settings.get("radius"), spec.slug) == (title, radius, slug)
    assert parse_loss(str(spec)) == spec


def test_a_list_keeps_parameters_with_their_loss():
    specs = parse_losses(" ce, dbce:radius=2,volumes=image ,dice-ce,dbce:radius=4")
    assert list(map(str, specs)) == [
        "ce",
        "dbce:radius=2,volumes=image",
        "dice-ce",
        "dbce:radius=4",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list of losses is empty"),
        ("vocal", "unknown loss 'vocal'; expected one of ce, balanced-ce, dbce"),
        ("dbc", "or module:Class for your own. Did you mean dbce?"),
        ("CE", "Did you mean ce?"),
        ("torch.nn:Threshold", "threshold is missing; write torch.nn:Threshold:threshold=..."),
        ("dbce:radius", "got 'radius', expected radius=..."),
        ("dbce:radus=2", "got 'radus=2', expected radius=..., volumes=..."),
        ("dbce", "radius is missing; write dbce:radius=..."),
        ("adaptive-dbce:radius=2", "got 'radius=2', expected no parameters"),
        ("dbce:radius=two", "got 'radius=two', expected a number after '='"),
        ("dbce:radius=-1", "got -1.0, expected >= 0"),
        ("dbce:radius=nan", "got nan, expected >= 0"),
        ("dbce:radius=1,radius=2", "radius is given twice"),
        ("dbce:radius=1,volumes=world", "volumes: got 'world', expected 'batch' or 'image'"),
        ("ce:radius=1", "got 'radius=1', expected weight=..."),
    ],
)
def test_wrong_names(text, message):
    with pytest.raises(ValueError, match=r".*") as error:
        parse_losses(text)
    assert message in str(error.value)


def test_every_loss_accepts_what_the_study_gives_it():
    for name in LOSSES:
        text = f"{name}:radius=1" if name.startswith("dbce") else name
        loss = parse_loss(text).build()(LOGITS, LABELS.to(torch.uint8))
        assert loss.ndim == 0
        assert loss.isfinite()


def test_a_parameter_at_its_default_makes_no_other_loss():
    spec = parse_loss("dbce:radius=2,volumes=batch")
    assert spec == parse_loss("dbce:radius=2")
    assert str(spec) == "dbce:radius=2"
    assert spec.settings == {"radius": 2, "volumes": "batch", "weight": None}


@pytest.mark.parametrize("radius", [1234567.0, 0.1 + 0.2, 1e-7, 1e20, math.inf])
def test_a_radius_survives_being_written(radius):
    spec = parse_loss(f"dbce:radius={radius!r}")
    assert parse_loss(str(spec)).settings["radius"] == radius


@pytest.mark.parametrize(
    "text", ["ce", "balanced-ce", "dbce:radius=2", "dice", "dice-ce", "tversky"]
)
def test_ignored_voxels_play_no_part(text):
    labels = LABELS.clone()
    labels[:, :, :4] = 255
    loss = parse_loss(text).build(Setting(ignore_index=255))
    other = LOGITS.clone()
    other[:, :, :4] = torch.randn(other[:, :, :4].shape, generator=torch.manual_seed(2))
    torch.testing.assert_close(loss(LOGITS, labels), loss(other, labels))
    if "dbce" not in text:  # its masks end at the border of the cut
        cut = parse_loss(text).build()
        torch.testing.assert_close(loss(LOGITS, labels), cut(LOGITS[:, :, 4:], LABELS[:, :, 4:]))


def test_a_loss_that_cannot_ignore_says_so():
    with pytest.raises(ValueError, match="takes no ignored voxels"):
        parse_loss("dice-focal").build(Setting(ignore_index=255))
    spec = parse_loss("monai.losses:DiceLoss:to_onehot_y=true")
    with pytest.raises(ValueError, match="to_onehot_y=True,ignore_index=255"):
        spec.build(Setting(ignore_index=255))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere:Loss", "cannot be imported: No module named 'nowhere'"),
        ("monai.losses:Nothing", "cannot be imported"),
        ("monai.losses:DiceLoss:smoth=1", "got 'smoth=1', expected include_background"),
        ("sys:exit", "loss 'sys:exit': SystemExit$"),
        ("fractions:Fraction", "got a Fraction, expected an nn.Module"),
        ("top-k:percent=0", "percent: got 0"),
        ("tversky:alpha=-3", "alpha: got -3"),
        ("tversky:beta=inf", "beta: got inf"),
        ("dice-focal:gamma=-1", "gamma: got -1"),
    ],
)
def test_what_is_wrong_with_a_loss_of_ones_own(text, message):
    with pytest.raises(ValueError, match=message):
        parse_loss(text)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module `mine` for losses of one's own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(*lines):
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        (tmp_path / "mine.py").write_text("\n".join(lines))
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("x = 1", "y = = 2"), "cannot be imported: mine.py line 2: invalid syntax"),
        (("x = 1", "y = z"), "cannot be imported: mine.py line 2: NameError: name 'z' is not"),
        (("import nothing",), "mine.py line 1: ModuleNotFoundError: No module named 'nothing'"),
        (("import sys", "sys.exit(3)"), "cannot be imported: mine.py line 2: SystemExit: 3"),
        (("def Loss():", "    raise RuntimeError('no')"), "'mine:Loss': mine.py line 2: Runtime"),
        (("def Loss():", "    return {}['key']"), "'mine:Loss': mine.py line 2: KeyError: 'key'"),
        (("def Loss():", "    return int('a')"), "'mine:Loss': mine.py line 2: ValueError: inv"),
    ],
)
def test_mistakes_in_a_file_of_ones_own_are_named_with_their_line(own, lines, message):
    own(*lines)
    with pytest.raises(ValueError, match=message):
        parse_loss("mine:Loss")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-4", 1e-4), ("inf", math.inf), ("010", 10), ("3", 3), ("-2.5", -2.5)),
        *(("true", True), ("simple", "simple"), ("null", None)),
    ],
)
def test_values_for_a_loss_of_ones_own(own, text, value):
    own("import torch", "class Loss(torch.nn.Module):", "    def __init__(self, alpha): ...")
    assert repr(parse_loss(f"mine:Loss:alpha={text}").settings["alpha"]) == repr(value)


def test_a_loss_of_ones_own_is_named_after_its_class():
    spec = parse_loss("monai.losses:DiceLoss:softmax=true,to_onehot_y=true")
    assert str(parse_loss(str(spec))) == str(spec)
    assert spec.title == "DiceLoss (to_onehot_y = True, softmax = True)"
    assert spec.settings == {"to_onehot_y": True, "softmax": True}
    assert "/" not in spec.slug
    assert ":" not in spec.slug
