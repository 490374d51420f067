"""What is logged: the curves of the run's own tables, once, and pictures, under its name."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from pydantic import ValidationError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import make_case, make_dataset

from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.planning import plan_units
from dilated_ce.study.runs.unit import execute
from dilated_ce.study.settings.compare import CompareConfig
from dilated_ce.study.training import fit as fit_module
from dilated_ce.study.training.loggers import picture_of

TRAINING = {"patch_size": 16, "batch_size": 2, "channels": (4, 8), "steps": 6, "evaluations": 3}


@pytest.fixture
def unit(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # for the client that reads it back
    data = make_dataset()
    config = CompareConfig(
        losses=["dice-ce"],
        training={**TRAINING, "device": "cpu"},
        loggers=("tensorboard", "mlflow", "csv"),
        out=tmp_path / "my study",
    )
    prepared = prepare(data, tmp_path / "prepared")
    return plan_units(config, data, prepared)[0]


def of_tensorboard(logs, name):
    events = EventAccumulator(str(logs / "tensorboard" / "dice-ce-seed0-fold0"))
    events.Reload()
    assert events.Tags()["images"] == ["validation/case4"]
    return [(event.step, event.value) for event in events.Scalars(name)]


def of_csv(logs, name):
    table = pd.read_csv(logs / "csv" / "dice-ce-seed0-fold0" / "metrics.csv")
    return list(table[["step", name]].dropna().itertuples(index=False, name=None))


def of_mlflow(logs, name):
    client = MlflowClient((logs / "mlflow").as_uri())
    (experiment,) = (e for e in client.search_experiments() if e.name == "my study")
    (run,) = client.search_runs([experiment.experiment_id])  # one, however often interrupted
    assert run.info.run_name == "dice-ce-seed0-fold0"
    assert run.info.status == "FINISHED"
    assert run.data.params["loss"] == "dice-ce"
    assert [file.path for file in client.list_artifacts(run.info.run_id, "pictures")] == [
        f"pictures/step{step:06}.png" for step in (2, 4, 6)
    ]
    history = client.get_metric_history(run.info.run_id, name)
    return sorted((metric.step, metric.value) for metric in history)


@pytest.mark.parametrize("interrupted", [False, True])
def test_every_logger_has_the_curves_of_the_run(unit, interrupted, monkeypatch):
    if interrupted:
        step = fit_module.Segmenter.training_step

        def step_or_die(self, batch, batch_index):
            if self.trainer.global_step == 5:
                raise MemoryError
            return step(self, batch, batch_index)

        with monkeypatch.context() as patched:
            patched.setattr(fit_module.Segmenter, "training_step", step_or_die)
            with pytest.raises(MemoryError):
                execute(unit)
    execute(unit)
    logs = unit.runs.parent / "logs"
    losses = list(unit.run.losses.itertuples(index=False, name=None))
    dice = list(unit.run.curve.itertuples(index=False, name=None))
    assert len(losses) == 6
    for of in (of_tensorboard, of_csv, of_mlflow):
        np.testing.assert_allclose(of(logs, "train/loss"), losses, rtol=1e-5)
        np.testing.assert_allclose(of(logs, "validation/dice"), dice, rtol=1e-5)
        rates = of(logs, "learning_rate")
        assert [step for step, _ in rates][-2:] == [5, 6]
        assert max(rate for _, rate in rates) <= 3e-3
    with Image.open(
        logs / "csv" / "dice-ce-seed0-fold0" / "pictures" / "step000006.png"
    ) as picture:
        assert picture.size == (3 * 56, 48)


def test_logging_changes_no_run(unit):
    quiet = replace(unit, loggers=())
    assert quiet.folder == unit.folder
    assert quiet.logging is None


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("tensorboard", "tensorboard")])
def test_a_logger_that_is_not_installed_is_said_before_training(
    tmp_path, monkeypatch, name, module
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValidationError, match=f"{name}, which is not installed; pip install"):
        CompareConfig(losses=["ce"], loggers=[name], out=tmp_path)
    with pytest.raises(
        ValidationError, match="Input should be 'tensorboard', 'wandb', 'mlflow' or"
    ):
        CompareConfig(losses=["ce"], loggers=["tensorbored"], out=tmp_path)


def test_the_picture_shows_the_slice_with_most_foreground():
    case = make_case(0, 3)
    picture = picture_of(case, np.zeros_like(case.labels))
    place = (case.labels > 0).sum((0, 1)).argmax()
    assert picture.shape == (24, 3 * 28, 3)
    image, truth, nothing = np.split(picture, 3, axis=1)
    np.testing.assert_array_equal(nothing, image)
    np.testing.assert_array_equal((truth != image).any(-1), case.labels[:, :, place] > 0)
    stack = picture_of(case, case.labels, stacked=True)
    assert stack.shape == (28, 3 * 20, 3)
