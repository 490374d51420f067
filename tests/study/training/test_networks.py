"""Networks by name: what each gets, how several outputs train, and weights to start from."""

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNetPlusPlus, UNet
from pydantic import ValidationError
from toy import make_dataset

from dilated_ce.study import api
from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.planning import default_patch
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.training.network_spec import parse_network
from dilated_ce.study.training.networks import build_network, outputs_of, supervised
from dilated_ce.study.training.settings import TrainingConfig

SMALL_UNETR = "UNETR:hidden_size=24,mlp_dim=32,num_heads=2,feature_size=4"
SMALL_SWIN = "SwinUNETR:feature_size=12,depths=[1,1,1,1],num_heads=[1,1,1,1]"
SMALL_PLUS = "BasicUNetPlusPlus:features=[4,4,8,8,16,4]"


@pytest.mark.parametrize("network", ["unet", "dynunet", "segresnet"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_network_takes_images_to_logits(network, norm, dims):
    config = TrainingConfig(network=network, norm=norm, channels=(8, 16, 32))
    built = build_network(config, dims, 3, 4)
    logits = built(torch.randn(2, 3, *[16] * dims))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 4, *[16] * dims)
    logits.sum().backward()
    assert all(part.grad is not None for part in built.parameters())


def test_a_seed_is_a_network():
    def weights(seed):
        torch.manual_seed(seed)
        built = build_network(TrainingConfig(channels=(4, 8)), 2, 1, 2)
        return torch.cat([part.flatten() for part in built.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("network", "side"),
    [(SMALL_UNETR, 32), (SMALL_SWIN, 64), (SMALL_PLUS, 32), ("AttentionUnet", 16)],
)
def test_any_network_of_monai_by_name(network, side, dims):
    if dims == 3 and side == 64:
        network += ",use_checkpoint=true"
    levels = {"channels": (4, 8)} if network == "AttentionUnet" else {}
    config = TrainingConfig(network=network, patch_size=(side,) * dims, **levels)
    built = build_network(config, dims, 2, 3)
    logits = outputs_of(built, torch.randn(1, 2, *[side] * dims))
    assert [tuple(part.shape) for part in logits] == [(1, 3, *[side] * dims)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "unest"}, "got 'unest', expected a network of MONAI .* Did you mean unet?"),
        (
            {"network": "SwinUNETR:size=3"},
            "network 'swinunetr': got 'size=3', expected in_channels",
        ),
        ({"network": "nowhere:make"}, "network 'nowhere:make' cannot be imported: No module"),
        ({"network": "smp:Unet"}, "segmentation_models.pytorch is not installed; pip install"),
        ({"network": "smp:"}, "expected smp:NAME:ARGUMENT=VALUE"),
        (
            {"network": "UNETR", "patch_size": 24},
            "got 24, expected a multiple of 16, as unetr halv",
        ),
        ({"network": "SwinUNETR", "patch_size": 48}, "got 48, expected a multiple of 32"),
        ({"patch_size": 20}, "got 20, expected a multiple of 8, as each of 4 levels but the first"),
        ({"network": "UNETR", "channels": (4, 8)}, "channels: got .*, which is for unet, dynunet,"),
        ({"network": "AttentionUnet", "norm": "instance"}, "norm: got instance, which is for unet"),
        ({"output_weights": (0, 0)}, r"output_weights.*got \[0.0, 0.0\], expected numbers of 0"),
        ({"weights": "nowhere.pt"}, "got nowhere.pt, which is no file; expected a state dict"),
    ],
)
def test_what_is_wrong_with_a_network_is_said_first(settings, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        TrainingConfig(**settings)


def test_the_default_patch_is_one_that_the_network_can_halve():
    def patch(network):
        return default_patch(TrainingConfig(network=network), 3, [(50, 200, 30)])

    assert patch("unet") == (48, 64, 24)
    assert patch("UNETR") == (48, 64, 16)
    assert patch("SwinUNETR") == (32, 64, 32)
    assert patch("torch.nn:Conv3d") == (48, 64, 16)


def test_segmentation_models_start_from_their_seed_and_take_2d_images(monkeypatch):
    package = types.ModuleType("segmentation_models_pytorch")

    class Unet(torch.nn.Conv2d):
        def __init__(
            self, encoder_name="resnet34", encoder_weights="imagenet", in_channels=3, classes=1
        ):
            super().__init__(in_channels, classes, 1)
            self.asked = encoder_name, encoder_weights

    package.Unet = Unet
    package.__spec__ = types.SimpleNamespace(submodule_search_locations=None)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", package)
    config = TrainingConfig(network="smp:Unet:encoder_name=resnet18", patch_size=32)
    network = build_network(config, 2, 1, 4)
    assert network.asked == ("resnet18", None)  # the default would be downloaded
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 4, 32, 32)
    with pytest.raises(ValueError, match="is for 2D images, and these are 3D"):
        build_network(config, 3, 1, 4)
    assert "encoder_name=resnet18" in parse_network(config.network).title
    with pytest.raises(ValidationError, match="expected a multiple of 32"):
        TrainingConfig(network="smp:Unet", patch_size=48)


IMAGE = torch.randn(2, 1, 32, 32, generator=torch.manual_seed(0))
LABELS = torch.randint(0, 3, (2, 1, 32, 32), generator=torch.manual_seed(1))
DICE_CE = DiceCELoss(to_onehot_y=True, softmax=True)


def test_the_heads_of_a_dynunet_train_with_halving_weights():
    network = "dynunet:deep_supervision=true,deep_supr_num=2"
    built = build_network(TrainingConfig(network=network, channels=(4, 4, 8, 8)), 2, 1, 3)
    outputs = outputs_of(built, IMAGE)
    assert [part.shape for part in outputs] == [(2, 3, 32, 32)] * 3
    first, second, third = (DICE_CE(part, LABELS) for part in outputs)
    found = supervised(DICE_CE, outputs, LABELS, None)
    torch.testing.assert_close(found, (4 * first + 2 * second + third) / 7)
    found = supervised(DICE_CE, outputs, LABELS, (3.0, 0.0, 1.0))
    torch.testing.assert_close(found, (3 * first + third) / 4)
    with pytest.raises(ValueError, match="output_weights: got 2 numbers, expected 3, one for each"):
        supervised(DICE_CE, outputs, LABELS, (1.0, 0.5))
    assert len(outputs_of(built.eval(), IMAGE)) == 1


def test_outputs_of_other_sizes_are_stretched():
    outputs = [torch.randn(2, 3, side, side) for side in (32, 16)]
    large = F.interpolate(outputs[1], (32, 32), mode="bilinear")
    expected = (2 * DICE_CE(outputs[0], LABELS) + DICE_CE(large, LABELS)) / 3
    torch.testing.assert_close(supervised(DICE_CE, outputs, LABELS, None), expected)


def test_of_unet_plus_plus_the_deepest_output_counts_first():
    built = build_network(TrainingConfig(network=f"{SMALL_PLUS},deep_supervision=true"), 2, 1, 3)
    assert isinstance(built, BasicUNetPlusPlus)
    *_, deepest = built.eval()(IMAGE)
    assert torch.equal(outputs_of(built, IMAGE)[0], deepest)


@pytest.mark.parametrize("form", ["plain", "lightning", "parallel"])
def test_it_starts_from_weights(form, tmp_path):
    config = TrainingConfig(channels=(4, 8))
    other = build_network(config, 2, 1, 3).state_dict()
    prefix = {"plain": "", "lightning": "network.", "parallel": "module."}[form]
    stored = {prefix + key: value for key, value in other.items()}
    if form == "lightning":
        stored = {"state_dict": {**stored, "criterion.weight": torch.ones(3)}, "epoch": 1}
    torch.save(stored, tmp_path / "some.pt")
    started = build_network(config.model_copy(update={"weights": tmp_path / "some.pt"}), 2, 1, 3)
    assert all(torch.equal(value, other[key]) for key, value in started.state_dict().items())


def test_weights_that_do_not_fit_are_listed(tmp_path):
    network = UNet(2, 1, 5, (4, 8), (2,), num_res_units=2, norm="batch")
    stored = {**network.state_dict(), "head.weight": torch.ones(2)}
    del stored["model.0.conv.unit0.conv.weight"]
    torch.save(stored, tmp_path / "other.pt")
    config = TrainingConfig(channels=(4, 8), weights=tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other.pt does not fit the network; ") as caught:
        build_network(config, 2, 1, 3)
    text = str(caught.value)
    assert "1 missing: model.0.conv.unit0.conv.weight;" in text
    assert "1 not of this network: head.weight;" in text
    assert "of another shape: model.2.0.conv.weight (" in text
    assert "model.2.0.adn.N.bias (5,) instead of (3,)" in text
    (tmp_path / "other.pt").write_text("weights")
    with pytest.raises(ValueError, match=r"other\.pt cannot be read as weights"):
        build_network(config, 2, 1, 3)
    torch.save([1, 2], tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds no state dict of tensors"):
        build_network(config, 2, 1, 3)


OWN = """
import torch

def make(in_channels, num_classes, spatial_dims, width=4):
    conv = (torch.nn.Conv2d, torch.nn.Conv3d)[spatial_dims - 2]
    return torch.nn.Sequential(conv(in_channels, width, 3, padding=1), conv(width, num_classes, 1))

def halving(in_channels, num_classes):
    return torch.nn.Conv2d(in_channels, num_classes, 2, stride=2)

def few(in_channels):
    return torch.nn.Conv2d(in_channels, 1, 1)

class Broken(torch.nn.Module):
    def __init__(self, num_classes, in_channels=1):
        super().__init__()
    def forward(self, images):
        return images + torch.ones(5)

class Wordy(Broken):
    def forward(self, images):
        return {"logits": images}

def needs(in_channels, num_classes, depth): ...
def fails(in_channels, num_classes):
    raise KeyError("no")
def nothing(in_channels, num_classes): ...
"""


@pytest.fixture
def try_out(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_nets.py").write_text(OWN)
    prepared = prepare(make_dataset(), tmp_path / "prepared")

    def run(**training):
        settings = {"batch_size": 2, "device": "cpu", "patch_size": 16, **training}
        config = CompareConfig(losses=["ce", "dice-ce"], training=settings, out=tmp_path)
        api.try_out(config, make_dataset(), prepared)

    yield run
    sys.modules.pop("my_nets", None)


def test_a_network_of_ones_own_gets_what_it_asks_for(try_out):
    try_out(network="my_nets:make:width=6")
    built = build_network(TrainingConfig(network="my_nets:make:width=6"), 3, 2, 4)
    assert built[0].weight.shape == (6, 2, 3, 3, 3)
    assert built[1].weight.shape == (4, 6, 1, 1, 1)
    assert parse_network("my_nets:make").source_file.name == "my_nets.py"
    assert parse_network("unet").source_file is None


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"network": "my_nets:halving"}, r"returns \(1, 3, 8, 8\) when it predicts, expected"),
        ({"network": "my_nets:few"}, r"returns \(2, 1, 16, 16\), expected \(2, 3\)"),
        ({"network": "my_nets:Broken"}, r"my_nets.py line 18: RuntimeError: The size .* --patch-s"),
        ({"network": "my_nets:Wordy"}, "returns a dict, expected a tensor"),
        ({"network": "my_nets:needs"}, "depth is missing; write my_nets:needs:depth="),
        ({"network": "my_nets:fails"}, "cannot be built: my_nets.py line 26: KeyError: 'no'"),
        ({"network": "my_nets:nothing"}, "got a NoneType, expected an nn.Module"),
        (
            {"network": "dynunet", "channels": (4, 4, 8), "output_weights": (1, 1)},
            "expected 1, one",
        ),
    ],
)
def test_a_network_is_tried_before_any_training(try_out, training, message):
    with pytest.raises(SettingsError, match=message):
        try_out(**training)
