"""`dilated-ce compare` and `inspect`, from folders on the disk to the pages."""

import errno
import html
import json
import multiprocessing
import os
import random
import re
import shlex
import shutil
import time
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from dilated_ce import cli
from dilated_ce.cli.running import summarise
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.prepare import Recipe
from dilated_ce.study.data.split import make_folds
from dilated_ce.study.training.loss_spec import parse_loss

TINY = (
    *("--losses", "ce,dbce:radius=2", "--seeds", 1, "--steps", 3, "--patch-size", 16),
    *("--batch-size", 2, "--device", "cpu", "--set", "training.channels=[4, 8]"),
    *("--set", "training.evaluations=2", "--set", "training.threads=1"),
    *("--set", "statistics.resamples=200"),
)


@pytest.fixture
def run(monkeypatch):
    """Call the command line in this process: exit code and what it printed, without line breaks."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments, command="compare"):
        done = CliRunner().invoke(cli.app, [command, *map(str, arguments)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", done.output)
        return done.exit_code, re.sub(r"\s+", " ", plain)

    return call


def disc(number, shape):
    generator = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    centre = [generator.uniform(6, side - 6) for side in shape]
    distance = np.sqrt(((grid - np.reshape(centre, (-1, *[1] * len(shape)))) ** 2).sum(0))
    labels = (distance < 5).astype(np.uint8)
    return labels, labels + generator.normal(scale=0.3, size=shape)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "polyps"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(8):
        labels, image = disc(number, (32, 40))
        grey = (60 + 100 * image).clip(0, 255).astype(np.uint8)
        Image.fromarray(np.stack([grey] * 3, -1)).save(folder / "images" / f"{number}.png")
        Image.fromarray(labels * 255).save(folder / "masks" / f"{number}.png")
    return folder


@pytest.fixture
def volumes(tmp_path):
    folder = tmp_path / "Dataset001_Balls"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(8):
        labels, image = disc(number, (20, 24, 16))
        affine = np.array([[0, -1, 0, 20], [1, 0, 0, -7], [0, 0, 1.5, 3], [0, 0, 0, 1.0]])
        for part, values, name in (
            ("imagesTr", image.astype(np.float32), f"ball{number}_0000"),
            ("labelsTr", labels, f"ball{number}"),
        ):
            nibabel.save(nibabel.Nifti1Image(values, affine), folder / part / f"{name}.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": 8,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_images_from_folders_to_the_report(run, images, tmp_path):
    out = tmp_path / "out"
    code, text = run("--data", images, "--out", out, *TINY)
    assert code == 0, text
    assert "polyps: 8 cases" in text
    assert "DBCE (R = 2), seed 0, fold 0: Dice" in text
    cases = pd.read_csv(out / "cases.csv")
    assert len(cases) == 2 * 2  # losses, test cases
    assert {"lesions.csv", "summary.json", "study.json"} <= {p.name for p in out.iterdir()}
    # The split is written down, and is one that --split takes.
    (split,) = json.loads((out / "study.json").read_text())["data"]["folds"]
    names = [name for part in split.values() for name in part]
    (fold,), _ = make_folds({name: name for name in names}, None, out / "split.json")
    assert vars(fold) == {part: tuple(names) for part, names in split.items()}
    page = (out / "report.html").read_text()
    assert "DBCE (R = 2)" in page
    assert "<script src" not in page
    code, text = run("--data", images, "--out", out, *TINY)
    assert code == 0
    assert text.count("kept from an earlier time") == 2
    pd.testing.assert_frame_equal(pd.read_csv(out / "cases.csv"), cases)


@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_as_a_whole_and_by_slices(run, volumes, tmp_path, dims):
    code, text = run(
        *("--data", volumes, "--out", tmp_path / "out", "--dims", dims, "--folds", 4, *TINY)
    )
    assert code == 0, text
    cases = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert sorted(cases["case"].unique()) == [f"ball{number}" for number in range(8)]
    assert cases["fold"].nunique() == 4


def test_a_file_of_settings_and_options_beside_it(run, images, tmp_path):
    path = tmp_path / "compare.yaml"
    path.write_text(
        f"data: {{path: {images}}}\nlosses: [ce]\nseeds: 1\nout: {tmp_path / 'out'}\n"
        "training: {steps: 2, patch_size: 16, batch_size: 2, channels: [4, 8], device: cpu}\n"
        "tune: {factors: [0.5, 2], steps: 2}\nstatistics: {resamples: 200}\n"
    )
    code, text = run(path, "--losses", "dice,ce")
    assert code == 0, text
    assert text.count(": learning rate 0.00") == 2
    assert "CE, learning rate 0.0015: Dice" in text
    study = json.loads((tmp_path / "out" / "study.json").read_text())
    assert study["config"]["losses"] == ["dice", "ce"]
    (rates,) = study["learning_rates"]
    assert set(rates.values()) <= {0.0015, 0.006}
    assert "of those tried" in text  # two factors: the best is at the edge


def test_a_dry_run_trains_nothing(run, images, tmp_path):
    code, text = run("--data", images, "--out", tmp_path / "out", "--dry-run", *TINY)
    assert code == 0, text
    assert "2 runs" in text
    assert "In all about" in text
    assert "patches of 16 x 16" in text
    # Every case is checked, and none is prepared.
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_failing_run_is_told_and_the_report_written(run, images, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_loss.py").write_text(
        "import torch\n\n\nclass Loss(torch.nn.Module):\n    calls = 0\n\n"
        "    def forward(self, logits, target):\n        self.calls += 1\n"
        "        if self.calls > 1:  # it passes when it is tried\n"
        "            raise RuntimeError('no such thing')\n"
        "        return logits.mean()\n"
    )
    options = dict(zip(TINY[::2], TINY[1::2], strict=True))
    assert options["--losses"]
    code, text = run(
        *("--data", images, "--out", tmp_path / "out", *TINY),
        *("--losses", "ce,failing_loss:Loss"),
    )
    assert code == 3, text
    assert "Loss, seed 0, fold 0: failed: RuntimeError: no such thing" in text
    assert "no such thing" in (tmp_path / "out" / "report.html").read_text()
    code, text = run(
        *("--data", images, "--out", tmp_path / "all", *TINY), *("--losses", "failing_loss:Loss")
    )
    assert code == 1, text
    assert "the first one: RuntimeError: no such thing" in text
    assert f"Where in the code each failed: {tmp_path / 'all' / 'error.txt'}" in text
    assert "Traceback" not in text
    assert "Traceback" in (tmp_path / "all" / "error.txt").read_text()
    code, text = run(
        *("--data", images, "--out", tmp_path / "dry", *TINY),
        *("--losses", "failing_loss:Loss", "--dry-run"),
    )
    assert code == 1
    assert "error: Loss cannot be trained: RuntimeError: no such thing" in text


def test_other_data_do_not_take_the_folder(run, images, volumes, tmp_path):
    assert run("--data", images, "--out", tmp_path / "out", *TINY)[0] == 0
    code, text = run("--data", volumes, "--out", tmp_path / "out", *TINY)
    assert code == 1
    assert "holds a study of other data (polyps)" in text
    code, text = run("--data", images, "--out", tmp_path / "out", *TINY)
    assert text.count("kept from an earlier time") == 2
    moved = tmp_path / "elsewhere" / "polyps"
    shutil.copytree(images, moved)
    assert run("--data", moved, "--out", tmp_path / "out", "--dry-run", *TINY)[0] == 0
    for path in moved.glob("*/*.png"):
        path.rename(path.with_name(f"other_{path.name}"))
    code, text = run("--data", moved, "--out", tmp_path / "out", *TINY)
    assert code == 1
    assert f"holds a study of other data (another polyps: {images})" in text


@pytest.mark.parametrize(
    "name", ["prepared/precious.txt", "prepared", "runs", "cases.csv", "study.json", "error.txt"]
)
def test_files_of_others_are_left_alone(run, images, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code, text = run("--data", images, "--out", tmp_path / "out", *TINY)
    assert code == 1
    assert f"overwrite or delete ({name}); choose another folder with --out" in text
    assert path.read_text() == "mine"
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [path]


@pytest.mark.parametrize("name", ["prepared", "runs", "runs/polyps"])
def test_data_in_the_folder_of_the_study_are_left_alone(run, images, tmp_path, name):
    data = tmp_path / "out" / name
    data.parent.mkdir(exist_ok=True, parents=True)
    images.rename(data)
    code, text = run("--data", data, "--out", tmp_path / "out", *TINY)
    assert code == 1
    assert f"the data lie where the study would be written ({data}/images/0.png and 15" in text
    assert len(list((tmp_path / "out").rglob("*.*"))) == 16


def test_a_study_may_lie_beside_its_images(run, images):
    code, text = run("--data", images, "--out", images, *TINY)
    assert code == 0, text
    assert len(list(images.glob("*/*.png"))) == 16
    assert (images / "prepared" / "index.json").exists()
    code, text = run("--data", images, "--out", images, *TINY)
    assert code == 0, text


def test_fresh_prepares_again(run, images, tmp_path, monkeypatch):
    command = ("--data", images, "--out", tmp_path / "out", *TINY)
    assert run(*command)[0] == 0

    def make(*arguments, **options):
        raise DataError("prepared anew")

    monkeypatch.setattr(Recipe, "make", make)
    assert run(*command)[0] == 0
    assert "prepared anew" in run(*command, "--fresh")[1]


def test_interrupted_while_it_prepares(run, images, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Recipe, "make", interrupted)
    code, text = run("--data", images, "--out", tmp_path / "out", *TINY)
    assert code == 130
    assert f"Interrupted. What is finished is kept in {tmp_path / 'out'}; the same command" in text


def test_the_terminal_shows_the_means_of_the_report(tmp_path, capsys):
    means = {"dice": 0.5, "nsd": 0.125, "hd95": 3.456, "lesion_f1": 0.25, "false_alarm": None}
    scores = {score: {"mean": mean} for score, mean in means.items()}
    summary = {"losses": {"ce": scores}, "sentences": [], "troubles": []}
    summarise(summary, "loss", tmp_path, {"ce": parse_loss("ce").title})
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "CE" in line]
    assert re.findall(r"[^\s│]+", row) == ["CE", "50.0", "12.5", "3.46", "25.0"]


def test_a_full_disk_is_named(run, images, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    code, text = run("--data", images, "--out", tmp_path / "out", *TINY)
    assert code == 1
    assert f"No space left on device. Is there room in {tmp_path / 'out'}" in text
    assert not list((tmp_path / "out").glob(".prepared*"))


def test_one_at_a_time(run, images, tmp_path):
    from dilated_ce.study.folder import locked

    with locked(tmp_path / "out"):
        code, text = run("--data", images, "--out", tmp_path / "out", *TINY)
    assert code == 1
    assert "another process writes to" in text


def compare_in_silence(arguments):
    """`dilated-ce compare` as the whole of a process."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    cli.app(["compare", *map(str, arguments)])


@pytest.mark.slow
def test_killed_at_random_it_ends_with_the_same_scores(images, tmp_path):
    # From a process that has the libraries, so that the kills meet work and not imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dilated_ce.study.api", "dilated_ce.cli.compare"])

    def start(out):
        arguments = ["--data", images, "--out", out, *TINY, "--steps", 20, "--seeds", 2]
        process = context.Process(target=compare_in_silence, args=(arguments,))
        process.start()
        return process

    def finish(out):
        process = start(out)
        process.join()
        assert process.exitcode == 0

    finish(tmp_path / "first")  # which starts the server, and so takes longer
    begun = time.monotonic()
    finish(tmp_path / "whole")
    takes = time.monotonic() - begun
    generator = random.Random(0)
    for _ in range(6):
        process = start(tmp_path / "killed")
        time.sleep(takes * generator.uniform(0.1, 0.9))
        process.kill()
        process.join()
    finish(tmp_path / "killed")
    for table in ("cases.csv", "lesions.csv"):
        whole, killed = (tmp_path / out / table for out in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()
    assert not list(Path(tmp_path / "killed" / "runs").glob(".*"))


WRONG_OPTIONS = {
    "no data": ((), "data.path is missing"),
    "unknown loss": (("--losses", "dicee"), "unknown loss 'dicee'"),
    "no radius": (("--losses", "dbce:radius="), "got 'radius=', expected a number"),
    "negative radius": (("--losses", "dbce:radius=-1"), "radius"),
    "twice": (("--losses", "ce,ce"), "ce is given twice"),
    "empty losses": (("--losses", ","), "the list of losses is empty"),
    "steps": (("--steps", 0), "training.steps: got 0"),
    "seeds": (("--seeds", 0), "seeds: got 0"),
    "network": (
        ("--network", "unets"),
        "training.network: got 'unets', expected a network of MONAI",
    ),
    "network's argument": (("--network", "unet:depth=3"), "got 'depth=3', expected spatial_dims"),
    "weights": (("--weights", "nowhere.pt"), "training.weights: got nowhere.pt, which is no file"),
    "patch": (("--patch-size", 12), "patch_size: got 12, expected a multiple of 8"),
    "patch text": (("--patch-size", "big"), "got 'big', expected numbers"),
    "patch sides": (("--patch-size", "16,16,16"), "got 3 sides, expected one or 2"),
    "reference": (("--reference", "tversky"), "got tversky, expected one of the losses"),
    "margin": (("--margin", 0), "statistics.margin: got 0"),
    "precision": (("--precision", 8), "training.precision: got '8'"),
    "half": (("--precision", "16-mixed", "--device", "cpu"), "which CPUs don't have"),
    "device": (("--device", "tpu"), "training.device: got 'tpu'"),
    "engine": (("--engine", "dask"), "execution.engine: got 'dask'"),
    "no word of a GPU": (("--engine", "slurm"), "training.device: got auto, which does not say"),
    "time": (("--engine", "slurm", "--time", "2:30"), "which Slurm takes for 2 minutes and 30"),
    "partition": (("--partition", "gpu"), "which is for engine: slurm"),
    "address": (("--address", "auto"), "which is for engine: ray"),
    "tune": (("--tune", "all"), "got 'all', expected lr"),
    "set": (("--set", "training.steps"), "expected NAME=VALUE"),
    "unknown set": (("--set", "training.stepps=1"), "training.stepps: is no setting"),
    "dims": (("--dims", 4), "Invalid value for --dims: got '4', expected 2, 3 or auto"),
    "dims in other digits": (("--dims", "²"), "got '²', expected 2, 3 or auto"),
    "scale": (("--scale", 0), "data.scale"),
    "folds": (("--folds", 100), "folds"),
    "regex": (("--group-by", "("), "group_by"),
    "classes": (("--mask-classes", "polyp"), "expected NAME=VALUE"),
    "split": (("--split", "nowhere.json"), "nowhere.json"),
    "own loss": (("--losses", "nowhere:Loss"), "cannot be imported"),
    "settings": (("nowhere.yaml",), "nowhere.yaml cannot be read"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_wrong_options_end_before_any_training(run, images, tmp_path, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, message = WRONG_OPTIONS[case]
    data = () if case == "no data" else ("--data", images)
    code, text = run(*data, "--out", tmp_path / "out", *options)
    assert code in (1, 2), text
    assert message in text
    assert not (tmp_path / "out" / "runs").exists()


def spoil_truncated(folder):
    path = folder / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:100])


def spoil_text(folder):
    (folder / "masks" / "3.png").write_text("no image")


def spoil_sizes(folder):
    Image.new("L", (7, 7)).save(folder / "masks" / "3.png")


def spoil_missing(folder):
    (folder / "masks" / "3.png").unlink()


def spoil_empty(folder):
    for path in (folder / "masks").iterdir():
        Image.new("L", (40, 32)).save(path)


def spoil_all(folder):
    for path in (folder / "images").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_truncated, "3.png"),
        (spoil_text, "3.png"),
        (spoil_sizes, "3"),
        (spoil_missing, "3"),
        (spoil_empty, "expected a background and a foreground"),
        (spoil_all, "images"),
    ],
)
def test_bad_data_end_before_any_training(run, images, tmp_path, spoil, message):
    spoil(images)
    code, text = run("--data", images, "--out", tmp_path / "out", *TINY)
    assert code == 1, text
    assert message in text
    assert "Traceback" not in text
    assert not (tmp_path / "out" / "runs").exists()


def test_inspect_shows_classes_and_the_radius(run, volumes, tmp_path):
    code, text = run(volumes, "--weight-maps", "-1", command="inspect")
    assert code == 2
    assert "got '-1', expected a number, 0 or more, or adaptive" in text
    code, text = run(*(volumes, "--out", tmp_path / "out", "--weight-maps", 2.5), command="inspect")
    assert code == 0, text
    assert "ball" in text
    assert "dilated-ce compare --data" in text
    assert "Weight maps: 3 files" in text
    page = (tmp_path / "out" / "inspection.html").read_text()
    assert 'type="range"' in page
    maps = list((tmp_path / "out" / "weights").glob("*.nii.gz"))
    assert len(maps) == 3
    labels = nibabel.load(volumes / "labelsTr" / "ball0.nii.gz")
    weights = nibabel.load(next(path for path in maps if path.name.startswith("ball0")))
    assert weights.shape == labels.shape
    np.testing.assert_allclose(weights.affine, labels.affine)


def test_the_suggested_command_is_one_that_runs(run, images, tmp_path):
    how = ("--dims", 2, "--scale", 1.5, "--mask-classes", "back ground=0,polyp=255")
    how = (*how, "--group-by", "([0-9])")
    options = ("--out", tmp_path / "out", "--radii", "0,2,4", *how)
    code, text = run(images, *options, command="inspect")
    assert code == 0, text
    suggested = re.search("dilated-ce compare (.*) Page:", text)[1]
    given = shlex.split(suggested)
    assert given[: 2 + len(how)] == ["--data", str(images), *map(str, how)]
    assert suggested in html.unescape((tmp_path / "out" / "inspection.html").read_text())
    options = [option for option in TINY if option not in ("--losses", TINY[1])]
    code, text = run(*given, "--out", tmp_path / "b", *options)
    assert code == 0, text
    study = json.loads((tmp_path / "b" / "study.json").read_text())
    assert study["config"]["data"]["scale"] == 1.5
    assert study["data"]["classes"] == ["back ground", "polyp"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--radii", "big"), 2, "got 'big', expected numbers"),
        (("--radii", "-1"), 2, "got '-1', expected radii"),
        (("--scale", 9), 2, "scale: Input should be less"),
        (("--dims", 3), 1, "these are 2D images"),
        (("--dims", 0), 2, "Invalid value for --dims: got '0', expected 2, 3 or auto"),
        (
            ("--mask-threshold", 1, "--mask-classes", "a=0,b=255"),
            *(2, "Invalid value: expected one of mask_threshold and mask_classes"),
        ),
        (("--group-by", "x"), 2, "has no group"),
    ],
)
def test_inspect_with_wrong_options(run, images, tmp_path, options, code, message):
    got, text = run(images, "--out", tmp_path / "out", *options, command="inspect")
    assert got == code, text
    assert message in text


def test_inspect_looks_first_whether_it_can_write(run, images, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    for out, message in (("file", "got a file"), ("new", "Permission denied")):
        code, text = run(images, "--out", tmp_path / out / "below", command="inspect")
        assert code == 1
        assert message in text
        assert "cases" not in text


def test_inspect_counts_a_single_problem(run, images, tmp_path):
    spoil_sizes(images)
    code, text = run(images, "--out", tmp_path / "out", command="inspect")
    assert code == 1
    assert "error: 1 problem; the data" in text


def test_inspect_lists_every_problem(run, images, tmp_path):
    spoil_sizes(images)
    (images / "images" / "5.png").write_bytes(b"")
    code, text = run(images, "--out", tmp_path / "out", command="inspect")
    assert code == 1
    assert "images/3.png has 40 x 32 pixels, masks/3.png 7 x 7" in text
    assert "images/5.png: is not an image" in text
    assert "2 problems" in text
    assert not (tmp_path / "out").exists()
