"""What stays of a run: the network, and new images predicted as the run predicts its own."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from toy import make_dataset
from typer.testing import CliRunner

from dilated_ce import cli
from dilated_ce.study import api
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.data.reading import DataConfig, open_data
from dilated_ce.study.data.unlabelled import PALETTE
from dilated_ce.study.planning import plan_units
from dilated_ce.study.runs.estimate import disk_kept
from dilated_ce.study.runs.model import load_model, predict_files
from dilated_ce.study.runs.unit import execute
from dilated_ce.study.settings.compare import CompareConfig
from dilated_ce.study.training.infer import predict

AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 2], [0, 0, 0, 1]])
TRAINING = {"patch_size": 16, "batch_size": 2, "channels": (4, 8), "steps": 3, "device": "cpu"}


def trained(data, tmp_path, keep="all", **training):
    """The first unit of a study, carried out, and its data."""
    settings = {**TRAINING, **training}
    config = CompareConfig(losses=["ce"], training=settings, out=tmp_path / "out", keep=keep)
    prepared = prepare(data, tmp_path / "prepared")
    unit = plan_units(config, data, prepared)[0]
    execute(unit)
    return unit, prepared


def write_volumes(folder, channels=("CT",), regions=False, side=20):
    """Volumes in nnU-Net's raw format with an affine that turns and stretches."""
    random = np.random.default_rng(0)
    labels = (
        {"background": 0, "organ": [1, 2], "core": 2} if regions else {"background": 0, "it": 1}
    )
    description = {
        "channel_names": {str(n): name for n, name in enumerate(channels)},
        "labels": labels,
        "numTraining": 5,
        "file_ending": ".nii.gz",
        **({"regions_class_order": [1, 2]} if regions else {}),
    }
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(description))
    for number in range(5):
        truth = np.zeros((side, side + 2, 10), np.uint8)
        truth[4 : 10 + number, 5:15, 2:8] = 1
        if regions:
            truth[6:8, 8:12, 3:6] = 2
        nibabel.save(nibabel.Nifti1Image(truth, AFFINE), folder / "labelsTr" / f"c{number}.nii.gz")
        for channel in range(len(channels)):
            image = (100 * truth + random.normal(0, 20, truth.shape)).astype(np.int16)
            path = folder / "imagesTr" / f"c{number}_{channel:04}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(image, AFFINE), path)
    return folder


def test_a_model_loads_and_is_the_one_that_predicted(tmp_path):
    data = make_dataset()
    unit, prepared = trained(data, tmp_path, network="dynunet", channels=(4, 4, 8))
    model = load_model(unit.folder)
    weights = torch.load(unit.folder / "model.pt", weights_only=True)
    assert model.network.state_dict().keys() == weights.keys()
    assert not model.network.training
    name = unit.judged[0]
    labels, _ = predict(
        model.network, prepared.load_scaled(name, 0), model.training, torch.device("cpu")
    )
    np.testing.assert_array_equal(labels, unit.run.prediction(name))
    assert unit.is_finished
    # The weights start another run, and that is another run.
    other = replace(
        unit, training=unit.training.model_copy(update={"weights": unit.folder / "model.pt"})
    )
    assert other.fingerprint != unit.fingerprint


def test_less_may_be_kept(tmp_path):
    unit, _ = trained(make_dataset(), tmp_path, keep="none")
    names = {path.name for path in unit.folder.iterdir()}
    assert names == {"run.json", "cases.csv", "lesions.csv", "losses.csv", "curve.csv"}
    assert unit.is_finished
    assert unit.run.has("none")
    assert not unit.run.has("predictions")
    with pytest.raises(DataError, match="kept no model; train it again with --keep all"):
        load_model(unit.folder)


def test_a_study_that_keeps_nothing_has_its_report_and_says_so_when_more_is_asked(tmp_path):
    training = {**TRAINING, "network": "dynunet:deep_supervision=true", "channels": (4, 4, 8)}
    config = CompareConfig(
        losses=["ce", "dice-hausdorff-dt"],
        seeds=1,
        training=training,
        statistics={"resamples": 200},
        out=tmp_path / "out",
        keep="none",
    )
    results = api.compare(config, lambda *_: make_dataset())
    assert not results.failures
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000

    class Notes(api.Listener):
        heard: list = []  # noqa: RUF012

        def on_notes(self, notes):
            self.heard.extend(notes)

    more = config.model_copy(update={"keep": "all"})
    api.compare(more, lambda *_: make_dataset(), Notes())
    (note,) = (note for note in Notes.heard if "finished before" in note)
    assert note.startswith("2 runs finished before, with less kept than keep: all asks for")


def test_the_disk_that_is_taken_is_foretold(tmp_path):
    unit, prepared = trained(make_dataset(), tmp_path)
    models, predictions = disk_kept([unit, replace(unit, keep="predictions")], prepared)
    assert models == pytest.approx((unit.folder / "model.pt").stat().st_size, rel=0.2)
    assert predictions == 2 * len(unit.judged) * 48 * 56
    assert disk_kept([replace(unit, keep="none")], prepared) == (0, 0)


@pytest.mark.parametrize(
    ("dims", "spacing", "channels"),
    [
        (3, None, ("CT",)),
        (2, None, ("MRI",)),
        (3, (2.0, 2.0, 2.0), ("CT", "MRI")),
        (2, (1.0, 1.0), ("MRI",)),
    ],
)
def test_volumes_are_predicted_as_by_the_run(tmp_path, dims, spacing, channels):
    folder = write_volumes(tmp_path / "data", channels)
    data = open_data(DataConfig(path=folder, dims=dims, spacing=spacing))
    patch = 8 if dims == 3 else 16
    unit, _ = trained(data, tmp_path, patch_size=patch, channels=(4, 8))
    model = load_model(unit.folder)
    name = unit.judged[0]
    files = sorted((folder / "imagesTr").glob(f"{name}_*"))
    ((found, path),) = predict_files(model, files, tmp_path / "labels")
    assert (found, path.name) == (name, f"{name}.nii.gz")
    written = nibabel.load(path)
    np.testing.assert_allclose(written.affine, AFFINE)
    labels = np.asarray(written.dataobj)
    assert labels.shape == (20, 22, 10)
    assert labels.dtype == np.uint8
    of_run = unit.run.prediction(name)
    if spacing is None:
        expected = np.moveaxis(of_run, 0, 2) if dims == 2 else of_run
        np.testing.assert_array_equal(labels, expected)
    else:
        assert abs((labels > 0).mean() - (of_run > 0).mean()) < 0.1
    assert json.loads((tmp_path / "labels" / "labels.json").read_text()) == {
        "background": 0,
        "it": 1,
    }


def test_regions_become_a_file_each(tmp_path):
    folder = write_volumes(tmp_path / "data", regions=True)
    unit, _ = trained(open_data(DataConfig(path=folder)), tmp_path, patch_size=8, channels=(4, 8))
    name = unit.judged[0]
    image = folder / "imagesTr" / f"{name}_0000.nii.gz"
    list(predict_files(load_model(unit.folder), [image], tmp_path / "labels"))
    codes = unit.run.prediction(name)
    for index, region in enumerate(("organ", "core")):
        mask = np.asarray(nibabel.load(tmp_path / "labels" / f"{name}_{region}.nii.gz").dataobj)
        np.testing.assert_array_equal(mask, (codes >> index) & 1)


@pytest.fixture
def pictures(tmp_path):
    """A study of pictures that are halved, from the folders to a run."""
    random = np.random.default_rng(0)
    for number in range(5):
        truth = np.zeros((40, 48), np.uint8)
        truth[10 : 20 + number, 12:30] = 255
        image = truth // 2 + random.integers(0, 100, truth.shape).astype(np.uint8)
        for part, values in (("images", image), ("masks", truth)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / "data" / part / f"p{number}.png")
    data = open_data(DataConfig(path=tmp_path / "data", scale=0.5))
    unit, _ = trained(data, tmp_path, steps=30)
    return unit, tmp_path / "data" / "images"


def test_the_command_predicts_pictures_on_their_own_grid(pictures, tmp_path):
    unit, images = pictures
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "broken.png").write_text("no picture")
    run = CliRunner().invoke
    arguments = ["predict", str(unit.folder), str(images), "--out", str(tmp_path / "labels")]
    done = run(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "5 of 5 images predicted" in done.output
    name = unit.judged[0]
    with Image.open(tmp_path / "labels" / f"{name}.png") as picture:
        assert (picture.mode, picture.size) == ("P", (48, 40))
        assert picture.getpalette()[3:6] == list(PALETTE[1])
        labels = np.asarray(picture)
    of_run = np.kron(unit.run.prediction(name), np.ones((2, 2)))  # stretched by hand
    assert of_run.any()
    assert (labels != of_run).mean() < 0.1
    again = run(cli.app, arguments)
    assert again.exit_code == 1
    assert "is not empty" in again.output
    done = run(cli.app, [*arguments, str(tmp_path / "more"), "--overwrite"])
    assert done.exit_code == 3
    assert "broken: broken.png: is not an image" in " ".join(done.output.split())


def test_what_cannot_be_predicted_is_said(pictures, tmp_path):
    unit, images = pictures
    model = load_model(unit.folder)
    out = tmp_path / "labels"
    with pytest.raises(DataError, match=r"no such file or folder: .*nowhere"):
        next(predict_files(model, [tmp_path / "nowhere"], out))
    with pytest.raises(DataError, match="no image there that can be read; expected PNG"):
        next(predict_files(model, [unit.folder], out))
    other = tmp_path / "other" / "p0.png"
    other.parent.mkdir()
    other.write_bytes((images / "p0.png").read_bytes())
    with pytest.raises(DataError, match=r"p0: got the files p0.png, p0.png, expected one, or 3"):
        next(predict_files(model, [images, other], out))
    with pytest.raises(DataError, match=r"is no folder of a run; .* such as .*ce-seed0-fold0"):
        load_model(tmp_path / "out")
    (unit.folder / "model.pt").write_text("damaged")
    with pytest.raises(DataError, match="the model cannot be loaded"):
        load_model(unit.folder)
    assert Prepared(tmp_path / "prepared").index["reading"] == {"scale": 0.5, "spacing": None}
