"""Files that are damaged, lie about their size, or have names that mean something elsewhere.

Each ends with exit code 1 and a line that names the file; none with a traceback, and nothing is
trained. What can be used is used, and shown as it is.
"""

import errno
import gzip
import importlib
import json
import os
import re
import resource
import struct
import time
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from dilated_ce import cli
from dilated_ce.study import yaml_text
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.images import read_image
from dilated_ce.study.data.masks import read_mask
from dilated_ce.study.data.volume_files import open_nifti

TINY = (
    *("--losses", "ce", "--seeds", 1, "--steps", 2, "--patch-size", 16, "--batch-size", 2),
    *("--device", "cpu", "--set", "training.channels=[4, 8]", "--set", "training.threads=1"),
    *("--set", "training.evaluations=1", "--set", "statistics.resamples=200"),
)
MOST_SECONDS = 20  # for what takes a fraction of one
MOST_MEMORY = 500  # MB, beside what the process has
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.fixture
def run(monkeypatch):
    """Call the command line in this process: exit code and what it printed, in one line."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(command, *arguments):
        done = CliRunner().invoke(cli.app, [command, *map(str, arguments)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", done.output)
        return done.exit_code, re.sub(r"\s+", " ", plain)

    return call


@pytest.fixture
def is_refused(run, tmp_path):
    """All commands end with exit code 1, these words, and without a run or a page."""

    for module in ("inspection", "study.api"):  # which takes its time once
        importlib.import_module(f"dilated_ce.{module}")

    def check(data, *words):
        begun, memory = time.monotonic(), peak_memory()
        for command in (
            ("compare", "--data", data, "--out", tmp_path / "out", *TINY),
            ("demo", "--data", data, "--out", tmp_path / "out"),
            ("inspect", data, "--out", tmp_path / "out"),
        ):
            code, text = run(*command)
            assert code == 1, text
            assert "Traceback" not in text
            for word in ("error:", *words):
                assert word in text
            # Cases that were read without a fault stay prepared, for the next start.
            assert {path.name for path in (tmp_path / "out").glob("*")} <= {".lock", "prepared"}
        assert time.monotonic() - begun < MOST_SECONDS
        assert peak_memory() - memory < MOST_MEMORY

    return check


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_images(folder, names="abcdef"):
    random = np.random.default_rng(0)
    mask = np.zeros((32, 40), np.uint8)
    mask[8:20, 10:25] = 255
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in names:
        picture = random.integers(0, 256, (32, 40, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


def write_volumes(folder, description=None, count=4):
    random = np.random.default_rng(0)
    labels = np.zeros((16, 16, 8), np.uint8)
    labels[4:9, 5:10, 2:6] = 1
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        image = random.normal(size=labels.shape).astype(np.float32)
        save(folder / "imagesTr" / f"b{number}_0000.nii.gz", image)
        save(folder / "labelsTr" / f"b{number}.nii.gz", labels)
    standard = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "ball": 1},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(standard | (description or {})))
    return folder


def save(path, values, **options):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4), **options), path)


def claim(path, shape, dtype=np.float32):
    """A file whose header tells of more voxels than follow."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + bytes(100)))


def png(width, height):
    """A small PNG that claims to be of this size."""

    def chunk(kind, data):
        ends = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + ends

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


IMAGES = {
    "truncated": (lambda path: halve(path), "truncated"),
    "empty": (lambda path: path.write_bytes(b""), "is not an image"),
    "text": (lambda path: path.write_text("no image"), "is not an image"),
    "svg": (lambda path: path.write_text("<svg onload='alert(1)'/>"), "is not an image"),
    "volume": (lambda path: path.write_bytes(gzip.compress(bytes(400))), "is not an image"),
    "bomb": (lambda path: path.write_bytes(png(60000, 60000)), "claims more pixels than are read"),
    "large": (lambda path: path.write_bytes(png(11000, 11000)), "a.png"),
    "pages": (
        lambda path: Image.new("L", (9, 9)).save(
            path, "GIF", save_all=True, append_images=[Image.new("L", (9, 9), 9)]
        ),
        "holds 2 pages",
    ),
    "fractions": (
        lambda path: Image.fromarray(np.full((32, 40), np.nan, np.float32)).save(path, "TIFF"),
        "(mode F), expected",
    ),
}


@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("spoiled", IMAGES)
def test_images_that_cannot_be_used(is_refused, tmp_path, spoiled, part):
    data = write_images(tmp_path / "data")
    spoil, words = IMAGES[spoiled]
    spoil(data / part / "a.png")
    is_refused(data, f"{part}/a.png", words)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.random.default_rng(0).integers(0, 9, (32, 40, 3), dtype=np.uint8), "in colour"),
        (np.full((32, 40), 70000, np.int32), "more than 16 bits"),
    ],
)
def test_masks_that_are_none(is_refused, tmp_path, mask, words):
    data = write_images(tmp_path / "data")
    (data / "masks" / "a.png").unlink()
    Image.fromarray(mask).save(data / "masks" / "a.tif")
    is_refused(data, "masks/a.tif", words)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "PPM", "GIF"])
def test_a_damaged_image_is_read_or_named(tmp_path, kind):
    path = tmp_path / "image.png"
    picture = np.random.default_rng(0).integers(0, 256, (24, 20), dtype=np.uint8)
    Image.fromarray(picture).save(path, kind)
    whole, random, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(0, min(len(whole), 200), 3)] = random.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes()[: random.integers(1, len(whole) + 1)])
        for read in (read_image, read_mask):
            try:
                assert read(path).shape[-2:] <= (10**6, 10**6)
            except ValueError as error:
                assert str(error)  # noqa: PT017
                refused += 1
    assert refused


VOLUMES = {
    "truncated": (lambda path: halve(path), "copy the file again"),
    "text": (lambda path: path.write_text("no volume"), "not a gzip file; copy the file again"),
    "image": (lambda path: Image.new("L", (9, 9)).save(path, "PNG"), "not a gzip file"),
    "other": (
        lambda path: path.write_bytes(gzip.compress(b"no volume")),
        "cannot be read as NIfTI",
    ),
    "no numbers": (lambda path: save(path, np.full((16, 16, 8), np.nan)), "no"),
    "infinite": (lambda path: save(path, np.full((16, 16, 8), np.inf, np.float32)), "no"),
    "out of range": (lambda path: save(path, np.full((16, 16, 8), 1e300)), "no"),
    "complex": (lambda path: save(path, np.ones((16, 16, 8), np.complex64)), "type complex64"),
    "colours": (lambda path: save(path, np.zeros((16, 16, 8), RGB)), "expected one real number"),
    "five axes": (lambda path: save(path, np.ones((4, 4, 4, 2, 2), np.float32)), "expected"),
    "terabytes": (lambda path: claim(path, (30000, 30000, 3000)), "expected at most 2^30"),
    "gigabytes": (lambda path: claim(path, (1000, 1000, 1000)), "which it does not hold"),
    "nothing": (lambda path: claim(path, (16, 16, 0)), "expected 2 or 3 axes"),
}


@pytest.mark.parametrize("part", ["imagesTr/b0_0000.nii.gz", "labelsTr/b0.nii.gz"])
@pytest.mark.parametrize("spoiled", VOLUMES)
def test_volumes_that_cannot_be_used(is_refused, tmp_path, spoiled, part):
    data = write_volumes(tmp_path / "data")
    spoil, words = VOLUMES[spoiled]
    spoil(data / part)
    is_refused(data, Path(part).name, words)


@pytest.mark.parametrize("value", [0.5, -1, 2.0**25])
def test_labels_that_are_no_classes(is_refused, tmp_path, value):
    data = write_volumes(tmp_path / "data")
    save(data / "labelsTr" / "b0.nii.gz", np.full((16, 16, 8), value, np.float32))
    is_refused(data, "b0.nii.gz: holds")


def test_a_damaged_volume_is_read_or_named(tmp_path):
    path, random, refused = tmp_path / "a.nii", np.random.default_rng(0), 0
    save(path, np.zeros((4, 4, 4), np.uint8))
    whole = path.read_bytes()
    for _ in range(200):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(0, 352, 4)] = random.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            assert np.prod(open_nifti(path).shape, dtype=float) <= 2**30
        except ValueError as error:
            assert str(error)  # noqa: PT017
            refused += 1
    assert refused


DESCRIPTIONS = {
    "deep": ("[" * 200_000, "cannot be read as JSON"),
    "binary": (b"\xff\xfe{\x00", "cannot be read as JSON"),
    "long number": ('{"labels": {"ball": %s}}' % ("9" * 5000), "cannot be read as JSON"),
    "infinite label": ({"labels": {"background": 0, "ball": float("inf")}}, "one whole number"),
    "half a label": ({"labels": {"background": 0, "ball": 1.5}}, "one whole number"),
    "large label": ({"labels": {"background": 0, "ball": 10**50}}, "one whole number"),
    "many labels": ({"labels": {f"c{i}": i for i in range(300)}}, "got 300, expected at most 255"),
    "no ending": ({"file_ending": ""}, "file_ending: got ''"),
    "ending": ({"file_ending": {"a": 1}}, "file_ending: got"),
    "line break": ({"labels": {"background": 0, "two\nlines": 1}}, r"'two\nlines'; rename"),
    "escape": ({"labels": {"background": 0, "\x1b]0;title\x07": 1}}, r"'\x1b]0;title\x07'"),
    "half a character": ({"labels": {"background": 0, "\ud800": 1}}, r"'\ud800'; rename"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_descriptions_that_cannot_be_used(is_refused, tmp_path, case):
    contents, words = DESCRIPTIONS[case]
    data = write_volumes(tmp_path / "data", contents if isinstance(contents, dict) else None)
    if not isinstance(contents, dict):
        contents = contents.encode() if isinstance(contents, str) else contents
        (data / "dataset.json").write_bytes(contents)
    is_refused(data, "data", words)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("../../etc/passwd", "is outside of the folder"),
        ("/etc/passwd", "is outside of the folder"),
        ("a\0b", "is no name of a file"),
        (["a"], "a: no such file"),
        ("nowhere.nii.gz", "no such file"),
    ],
)
def test_files_that_a_description_names(is_refused, tmp_path, image, words):
    data = write_volumes(tmp_path / "data")
    pair = {"image": image, "label": "labelsTr/b0.nii.gz"}
    description = json.loads((data / "dataset.json").read_text()) | {"training": [pair]}
    del description["file_ending"]
    (data / "dataset.json").write_text(json.dumps(description))
    is_refused(data, words)


def test_a_picture_that_is_a_link_in_a_circle(is_refused, tmp_path):
    data = write_images(tmp_path / "data")
    (data / "images" / "loop.png").symlink_to("loop.png")
    is_refused(data, "images/loop.png: link to loop.png leads nowhere")


def test_links_in_circles_and_what_is_no_file_are_passed_over(run, tmp_path):
    data = write_images(tmp_path / "data")
    (data / "images" / "loop").symlink_to("loop")
    (data / "images" / "again").symlink_to(data)
    os.mkfifo(data / "images" / "pipe.png")  # reading one waits for ever
    code, text = run("inspect", data, "--out", tmp_path / "out", "--radii", "0,2")
    assert code == 0, text
    assert "data: 6 cases" in text


def test_a_folder_that_is_a_link_in_a_circle(is_refused, tmp_path):
    data = write_images(tmp_path / "data")
    (data / "masks").rename(tmp_path / "elsewhere")
    (data / "masks").symlink_to("masks")
    is_refused(data, "masks: link to masks leads nowhere")


NAMES = [
    "<script>alert(1)<",
    "-rf",
    "--help",
    "quo'te\"s",
    "a  b",
    "ünï 漢字 🙂",
    "[red]x[\\",
    "=1+1",
]


def test_names_are_shown_as_they_are(run, tmp_path):
    data = write_images(tmp_path / "<b>data [red]", NAMES)
    out = tmp_path / "<i>out"
    code, text = run("compare", "--data", data, "--out", out, "--folds", 2, *TINY)
    assert code == 0, text
    assert "<b>data [red]: 8 cases" in text
    cases = pd.read_csv(out / "cases.csv", dtype=str, keep_default_na=False)
    assert set(cases["case"]) == set(NAMES)
    code, text = run("inspect", data, "--out", out, "--radii", "0,2", "--weight-maps", 2)
    assert code == 0, text
    assert f"--data '{data}'" in text
    for page in ("report.html", "inspection.html"):
        html = (out / page).read_text()
        assert "<script>alert" not in html
        assert "<b>data" not in html
        assert "&lt;b&gt;data" in html
    written = [path.relative_to(out / "weights") for path in (out / "weights").rglob("*")]
    assert len(written) == 6
    assert all(re.fullmatch(r"[\w.-]+", str(path)) for path in written)
    assert not any(str(path).startswith("-") for path in written)


CLASSES = ["<script>alert(2)<", "case", "group", "part", "shape", "spacing", "class", "dice", "NA"]


def test_classes_by_any_name(run, tmp_path):
    labels = {name: number for number, name in enumerate(["background", *CLASSES])}
    data = write_volumes(tmp_path / "data", {"labels": labels})
    blocks = np.arange(16 * 16 * 8).reshape(16, 16, 8) * len(labels) // (16 * 16 * 8)
    for path in (data / "labelsTr").iterdir():
        save(path, blocks.astype(np.uint8))
    out = tmp_path / "out"
    code, text = run("compare", "--data", data, "--out", out, *TINY)
    assert code == 0, text
    cases = pd.read_csv(out / "cases.csv", dtype=str, keep_default_na=False)
    assert cases["class"].tolist() == CLASSES
    code, text = run("inspect", data, "--out", out, "--radii", "0,2")
    assert code == 0, text
    for page in ("report.html", "inspection.html"):
        html = (out / page).read_text()
        assert "<script>alert" not in html
        assert "alert(2)" in html


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", os.fsdecode(b"caf\xe9")])
def test_names_that_no_table_takes(is_refused, tmp_path, name):
    data = write_images(tmp_path / "data", ["a", "b", name])
    is_refused(data, f"{name!a}; rename them")


def test_names_in_errors_do_not_reach_the_terminal(tmp_path):
    data = write_images(tmp_path / "data", ["a", "b", "\x1b]0;title\x07"])
    next((data / "masks").glob("*title*")).unlink()
    done = CliRunner().invoke(cli.app, ["inspect", str(data)])
    assert done.exit_code == 1
    assert r"images/\x1b]0;title\x07.png: no mask: expected" in done.output
    assert "\x1b]0" not in done.output


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
SETTINGS = {
    "aliases": (LAUGHS, "line 2: is no YAML: aliases (*name) are not taken here"),
    "deep": ("losses: " + "[" * 100_000, "line 1: is no YAML: it is nested too deeply"),
    "deep mapping": ("losses: " + "{a: " * 300 + "1" + "}" * 300, "nested too deeply"),
    "twice": (
        "losses: [ce]\nseeds: 1\nseeds: 0",
        'line 3: is no YAML: found duplicate key "seeds"',
    ),
    "python": ("losses: !!python/object/apply:os.system [exit]", "line 1: is no YAML"),
    "date": ("losses: [2020-99-99]", "is no YAML: a value cannot be read"),
    "control": ("losses: [ce]\0", "special characters are not allowed"),
    "bytes": (b"\x80", "cannot be read: 'utf-8'"),
    "long": ("#" + "x" * 2_000_000, "expected at most 1,000,000"),
    "many": ("\n".join(f"k{number}: 1" for number in range(500)), "... and "),
    "documents": ("losses: [ce]\n---\nlosses: [ce]", "line 2: is no YAML"),
    "key": ("? [a]\n: 1", "got ('a',). Keys should be strings"),
    "number": ("1: 2\nlosses: [ce]", "line 1: 1: got 1. Keys should be strings"),
    "merge": ("<<: 3", "line 1: is no YAML"),
}


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("of", ["settings", "split"])
def test_yaml_that_is_none(run, tmp_path, case, of):
    contents, words = SETTINGS[case]
    data, path = write_images(tmp_path / "data"), tmp_path / "file.yaml"
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    options = (path,) if of == "settings" else ("--split", path, *TINY)
    begun = time.monotonic()
    code, text = run("compare", "--data", data, "--out", tmp_path / "out", *options)
    assert code == 1
    assert str(path) in text or case == "key"
    if of == "settings" or case not in ("many", "number", "key"):
        assert words in text
    assert not (tmp_path / "out" / "runs").exists()
    assert time.monotonic() - begun < MOST_SECONDS


@pytest.mark.parametrize("value", ["[*a]", "[" * 3000, "2020-99-99", "!!python/name:os.system"])
def test_yaml_among_the_options(run, tmp_path, value):
    data = write_images(tmp_path / "data")
    for option in (f"--set=seeds={value}", f"--losses=torch.nn:CrossEntropyLoss:weight={value}"):
        code, text = run("compare", "--data", data, "--out", tmp_path / "out", option)
        assert code == 2
        assert "is no YAML" in text


def test_what_yaml_may_hold():
    text = "losses: [ce, 'dbce:radius=2']\ndata: {path: a, folds: 3}\nseeds: 0x10\nout: ~"
    expected = {"losses": ["ce", "dbce:radius=2"], "data": {"path": "a", "folds": 3}}
    assert yaml_text.load(text, "x") == expected | {"seeds": 16, "out": None}
    assert yaml_text.load("", "x") is None


def test_a_split_in_json_that_is_too_deep(run, tmp_path):
    (tmp_path / "split.json").write_text("[" * 200_000)
    data = write_images(tmp_path / "data")
    code, text = run("inspect", data, "--out", tmp_path / "out")
    assert code == 0, text
    code, text = run("compare", "--data", data, "--split", tmp_path / "split.json", *TINY)
    assert code == 1
    assert "split.json: is no JSON" in text


def test_the_disk_is_full_at_the_report(run, tmp_path, monkeypatch):
    from dilated_ce.study.report import page

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    data, out = write_images(tmp_path / "data"), tmp_path / "out"
    command = ("compare", "--data", data, "--out", out, *TINY)
    monkeypatch.setattr(page, "write_text", full)
    code, text = run(*command)
    assert code == 1
    assert "No space left on device. Is there room in" in text
    assert "Finished runs are kept: the same command goes on from there." in text
    assert not list(out.glob("*.partial"))
    monkeypatch.undo()
    code, text = run(*command)
    assert code == 0, text
    assert text.count("kept from an earlier time") == 1
    assert (out / "report.html").exists()


def test_a_file_may_not_grow(run, tmp_path):
    """What a full disk does, without one: the system refuses to write beyond a size."""
    data, out = write_images(tmp_path / "data"), tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        code, text = run("compare", "--data", data, "--out", out, *TINY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert "Is there room in" in text
    assert not list(out.glob("**/*.npy"))
    assert run("compare", "--data", data, "--out", out, *TINY)[0] == 0


def test_a_folder_that_may_not_be_written(run, tmp_path, monkeypatch):
    data, out = write_images(tmp_path / "data"), tmp_path / "out"

    def refuse(path, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # whoever runs the tests may write anywhere
    for command in (
        ("compare", "--data", data, "--out", out, *TINY),
        ("demo", "--data", data, "--out", out),
        ("inspect", data, "--out", out, "--radii", "0,2"),
    ):
        code, text = run(*command)
        assert code == 1
        assert "Permission denied" in text
        assert str(out) in text
    assert not out.exists()


def test_names_of_a_data_set_are_checked_where_it_is_opened(tmp_path):
    from dilated_ce.study.data.reading import DataConfig, open_data

    data = write_images(tmp_path / "two\nlines")
    with pytest.raises(DataError, match=r"names hold line breaks.*'two\\nlines'; rename"):
        open_data(DataConfig(path=data))
