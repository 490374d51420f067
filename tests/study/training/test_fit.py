import itertools
import math

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from toy import make_dataset

from dilated_ce.study.data.cases import Case
from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.training import fit as fit_module
from dilated_ce.study.training.fit import (
    CHECKPOINT,
    Plan,
    Segmenter,
    build_optimizer,
    build_schedule,
    fit,
)
from dilated_ce.study.training.infer import mean_dice, predict
from dilated_ce.study.training.loss_spec import parse_loss
from dilated_ce.study.training.losses import LOSSES
from dilated_ce.study.training.settings import ResolvedTraining

TRAINING = ResolvedTraining(
    steps=9,
    batch_size=2,
    patch_size=(16, 16),
    channels=(4, 8),
    evaluations=3,
    device="cpu",
    threads=1,
    learning_rate=1e-2,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(make_dataset(), tmp_path_factory.mktemp("toy") / "prepared")


@pytest.fixture
def plan(prepared):
    def make(loss="ce", seed=0, **training):
        config = TRAINING.model_copy(update=training)
        names = ("case0", "case1", "case2", "case3")
        return Plan(parse_loss(loss), seed, names, ("case4",), config, prepared)

    return make


def weights(network):
    return torch.cat([part.detach().flatten() for part in network.parameters()])


def test_it_learns(plan, tmp_path):
    network, history = fit(plan(steps=60), tmp_path)
    assert len(history.losses) == 60
    assert np.mean(history.losses[-10:]) < 0.6 * history.losses[0]
    assert [step for step, _ in history.curve] == [20, 40, 60]
    case = plan().prepared.load("case4")
    labels, probabilities = predict(network, case, TRAINING, torch.device("cpu"))
    assert history.curve[-1][1] == pytest.approx(mean_dice(labels, case.labels, 3))
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(0), labels)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_computes_in_float32_under_half_precision(plan, prepared, tmp_path, loss):
    """Autocast would let the sums of the Dice family lose digits, and keep those of CE."""
    name = {"dbce": "dbce:radius=2", "dbce-dice": "dbce-dice:radius=2"}.get(loss, loss)
    segmenter = Segmenter(plan(name, precision="bf16-mixed"), tmp_path)
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 16, 16, generator=random)
    labels = torch.randint(0, 3, (2, 1, 16, 16), generator=random)
    with torch.autocast("cpu", torch.bfloat16):
        logits = segmenter.eval().network(image)
        assert logits.dtype == torch.bfloat16
        found = segmenter.training_step({"image": image, "labels": labels}, 0)
    assert found.dtype == torch.float32
    assert torch.equal(found, segmenter.criterion(logits.float(), labels))


def test_a_compiled_run_learns_the_same(plan, tmp_path):
    """And its weights have the names of the network's own."""
    network, history = fit(plan(), tmp_path / "eager")
    compiled, its_history = fit(plan(forward="compiled"), tmp_path / "compiled")
    np.testing.assert_allclose(its_history.losses, history.losses, rtol=1e-3)
    assert compiled.state_dict().keys() == network.state_dict().keys()
    assert [step for step, _ in its_history.curve] == [3, 6, 9]


@pytest.mark.parametrize("stop_at", [1, 4, 6, 8])
@pytest.mark.parametrize("loss", ["ce", "dbce-dice:radius=2"])
def test_an_interrupted_run_ends_like_an_undisturbed_one(
    plan, tmp_path, monkeypatch, stop_at, loss
):
    network, history = fit(plan(loss), tmp_path / "whole")

    class Killed(Exception):
        pass

    step = fit_module.Segmenter.training_step

    def step_or_die(self, batch, batch_index):
        if self.trainer.global_step == stop_at:
            raise Killed
        return step(self, batch, batch_index)

    monkeypatch.setattr(fit_module.Segmenter, "training_step", step_or_die)
    with pytest.raises(Killed):
        fit(plan(loss), tmp_path / "parts")
    monkeypatch.undo()
    again, its_history = fit(plan(loss), tmp_path / "parts")
    assert its_history.losses == history.losses
    assert its_history.curve == history.curve
    assert torch.equal(weights(again), weights(network))


def test_processes_that_load_patches_change_no_number_and_stay(plan, tmp_path):
    network, history = fit(plan(), tmp_path / "alone")
    others, its_history = fit(plan(loaders=2), tmp_path / "loaded")
    assert its_history.losses == history.losses
    assert torch.equal(weights(others), weights(network))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("overlapping", [False, True])
def test_slabs_of_probabilities_are_those_of_the_whole(dims, overlapping):
    torch.manual_seed(0)
    shape = {2: (1, 37, 40), 3: (1, 33, 20, 24)}[dims]
    network = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims](1, 3, 3, padding=1).eval()
    random = np.random.default_rng(0)
    case = Case("a", random.normal(size=shape).astype(np.float32), np.zeros(shape[1:], np.uint8))
    training = TRAINING.model_copy(update={"patch_size": (16,) * dims})
    labels, probabilities = predict(network, case, training, torch.device("cpu"), overlapping)
    with torch.no_grad():
        logits = sliding_window_inference(
            torch.from_numpy(case.image)[None], (16,) * dims, 1, network, 0.25, "gaussian"
        )[0]
    expected = logits.sigmoid() if overlapping else logits.softmax(0)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-6)
    codes = (1 * (expected[0] > 0.5) + 2 * (expected[1] > 0.5) + 4 * (expected[2] > 0.5)).numpy()
    np.testing.assert_array_equal(labels, codes if overlapping else expected.argmax(0))


def test_a_finished_run_is_not_trained_again(plan, tmp_path, monkeypatch):
    network, history = fit(plan(), tmp_path)
    monkeypatch.delattr(fit_module.Segmenter, "training_step")
    again, its_history = fit(plan(), tmp_path)
    assert its_history == history
    assert torch.equal(weights(again), weights(network))


def test_half_a_checkpoint_is_none(plan, tmp_path):
    network, history = fit(plan(), tmp_path)
    checkpoint = tmp_path / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    again, its_history = fit(plan(), tmp_path)
    assert its_history.losses == history.losses
    assert torch.equal(weights(again), weights(network))


HISTORY = {**vars(fit_module.History()), "losses": [1.0] * 9}


@pytest.mark.parametrize(
    "contents",
    ["history", {"history": {}}, {"history": {"losses": [1.0] * 9}}, {"history": HISTORY}],
)
def test_something_else_in_the_place_of_a_checkpoint_is_none(plan, tmp_path, contents):
    torch.save(contents, tmp_path / CHECKPOINT)
    _, history = fit(plan(), tmp_path)
    assert len(history.losses) == 9
    assert history.losses[0] != 1


def test_a_damaged_checkpoint_makes_no_noise(tmp_path, recwarn):
    (tmp_path / CHECKPOINT).write_bytes(
        b"\x80\x04garbage"
    )  # torch guesses at the version of pickle
    assert fit_module._load(tmp_path / CHECKPOINT) is None
    assert not recwarn.list


class Armed:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_that_holds_code_is_none(plan, tmp_path):
    _, history = fit(plan(), tmp_path)
    checkpoint = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    torch.save(checkpoint | {"armed": Armed(tmp_path / "fired")}, tmp_path / CHECKPOINT)
    _, its_history = fit(plan(), tmp_path)
    assert its_history.losses == history.losses
    assert not (tmp_path / "fired").exists()


def test_losses_share_weights_and_patches_under_a_seed(plan, tmp_path):
    # With no learning to speak of, the losses of the same patches under the same weights.
    first = fit(plan("ce", learning_rate=1e-9), tmp_path / "ce")[1].losses
    same = fit(plan("top-k:percent=100", learning_rate=1e-9), tmp_path / "top-k")[1].losses
    np.testing.assert_allclose(first, same, rtol=1e-4)
    other = fit(plan("ce", seed=1, learning_rate=1e-9), tmp_path / "other")[1].losses
    assert not np.allclose(first, other, rtol=1e-2)


def test_divergence_is_kept_and_not_raised(plan, tmp_path):
    _, history = fit(plan(learning_rate=1e30, optimizer="sgd", schedule="constant"), tmp_path)
    assert len(history.losses) == 9
    assert not np.isfinite(history.losses).all()


def test_without_validation_cases_there_is_no_curve(plan, tmp_path):
    bare = plan()
    bare = Plan(bare.loss, bare.seed, bare.train, (), bare.training, bare.prepared)
    assert fit(bare, tmp_path)[1].curve == []


def test_without_gpus_processes_take_no_batch_norm_of_gpus(plan, tmp_path, monkeypatch):
    """Lightning would refuse it where the device is left open, as it is by default."""
    found = {}

    def trainer(**options):
        found.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module.L, "Trainer", trainer)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KeyboardInterrupt):
        fit(plan(devices=2, device="auto"), tmp_path)
    assert (found["devices"], found["sync_batchnorm"]) == (2, False)


@pytest.mark.slow
def test_two_processes_train_one_network(plan, tmp_path):
    # Instance norm, as the statistics of batch norm are those of each process; and SGD, as Adam
    # makes a step of the rounding of a gradient that is nearly zero.
    same = {"norm": "instance", "optimizer": "sgd", "schedule": "constant"}
    alone, history = fit(plan("dbce:radius=2", **same), tmp_path / "alone")
    shared, its_history = fit(plan("dbce:radius=2", **same, devices=2), tmp_path / "two")
    np.testing.assert_allclose(its_history.losses, history.losses, rtol=1e-4)
    torch.testing.assert_close(weights(shared), weights(alone), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "first", "last"), [("poly", 1, 0.1), ("cosine", 1, 0), ("constant", 1, 1)]
)
def test_schedules_start_high_and_end_low(schedule, first, last):
    config = TRAINING.model_copy(update={"schedule": schedule, "steps": 50, "optimizer": "sgd"})
    optimizer = build_optimizer([torch.nn.Parameter(torch.zeros(1))], config)
    scheduler = build_schedule(optimizer, config)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"] / config.learning_rate)
        optimizer.step()
        scheduler.step()
    assert rates[0] == first
    assert rates[-1] == pytest.approx(last, abs=0.07)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))


@pytest.mark.parametrize("dims", [2, 3])
def test_mean_dice_is_the_mean_over_the_classes_that_are_there(dims):
    random = np.random.default_rng(dims)
    labels, prediction = random.integers(0, 4, (2, *[7] * dims)).astype(np.uint8)
    labels[labels == 2] = 255
    prediction[labels == 255] = 1  # ignored voxels, which count for nothing
    labels.setflags(write=False)  # as those of prepared cases, which torch warns of
    counted = labels < 4
    overlaps = [
        2
        * ((labels == c) & (prediction == c)).sum()
        / ((labels == c).sum() + ((prediction == c) & counted).sum())
        for c in (1, 3)
    ]
    assert mean_dice(prediction, labels, 4) == pytest.approx(np.mean(overlaps))


def test_mean_dice_leaves_out_what_is_not_there():
    labels = np.array([[1, 1, 0, 255]], np.uint8)
    assert mean_dice(np.array([[1, 0, 0, 1]], np.uint8), labels, 3) == pytest.approx(2 / 3)
    assert math.isnan(mean_dice(labels * 0, labels * 0, 3))
