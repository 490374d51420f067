"""The download, on a small archive of the same layout served on this machine."""

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from dilated_ce.study.data import stare
from dilated_ce.study.data.cases import DataError


def small_archive() -> tuple[bytes, bytes]:
    """An archive like that of deepdraw, with 4 images, and the database in it."""
    random = np.random.default_rng(0)
    split = {"train": [], "test": []}
    database = io.BytesIO()
    with zipfile.ZipFile(database, "w") as images:
        for index in range(4):
            names = [f"stare-images/im{index}.ppm", f"labels-ah/im{index}.ah.ppm"]
            picture = random.integers(0, 256, (10, 12, 3), dtype=np.uint8)
            vessels = random.choice(np.array([0, 255], np.uint8), (10, 12))
            for name, pixels in zip(names, (picture, vessels), strict=True):
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, format="PPM")
                images.writestr(name, buffer.getvalue())
            split["train" if index < 2 else "test"].append([*names, "unused.png"])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in (
            (stare.SPLIT, json.dumps(split).encode()),
            (stare.DATABASE, database.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue(), database.getvalue()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The URL of the archive on a local server, whose requests are counted in `.requests`."""
    archive, database = small_archive()
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "archive.tar.gz").write_bytes(archive)
    monkeypatch.setattr(stare, "ARCHIVE_SHA256", hashlib.sha256(archive).hexdigest())
    monkeypatch.setattr(stare, "DATABASE_SHA256", hashlib.sha256(database).hexdigest())
    monkeypatch.setenv("DILATED_CE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(http.server.SimpleHTTPRequestHandler):
        requests = 0

        def do_GET(self):
            Handler.requests += 1
            super().do_GET()

        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.url = f"http://127.0.0.1:{running.server_port}/archive.tar.gz"
        running.handler = Handler
        running.folder = tmp_path / "www"
        yield running
        running.shutdown()


def test_it_is_fetched_once_and_read(server):
    data = stare.open_stare(scale=1.0, url=server.url)
    assert data.folds[0].train == ("im0", "im1")
    assert data.folds[0].test == ("im2", "im3")
    first = data.cases[0].load()
    assert first.name == "im0"
    assert first.image.shape == (3, 10, 12)
    assert set(np.unique(first.labels)) == {0, 1}
    again = stare.open_stare(scale=1.0, url=server.url).cases[0].load()
    assert np.array_equal(again.image, first.image)
    assert server.handler.requests == 1
    assert stare.open_stare(scale=0.5, url=server.url).cases[0].load().labels.shape == (5, 6)


def test_a_changed_archive_is_refused_and_not_kept(server, tmp_path):
    path = tmp_path / "www" / "archive.tar.gz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"archive.tar.gz from http.* is not the expected file"):
        stare.open_stare(url=server.url)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_cache_is_fetched_anew(server, tmp_path):
    stare.open_stare(url=server.url)
    (tmp_path / "cache" / "archive.tar.gz").write_bytes(b"damaged")
    assert len(stare.open_stare(url=server.url).cases) == 4
    assert server.handler.requests == 2


def test_a_changed_database_is_refused(server, monkeypatch):
    monkeypatch.setattr(stare, "DATABASE_SHA256", "0" * 64)
    with pytest.raises(DataError, match="does not have the expected checksum"):
        stare.open_stare(url=server.url)


def test_nothing_of_an_archive_is_unpacked(server, tmp_path, monkeypatch):
    """Names that climb out, absolute ones and links are members like any other: not looked at."""
    path = tmp_path / "www" / "archive.tar.gz"
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w:gz") as tar:
        for name in ("../climbed", str(tmp_path / "absolute"), "/etc/dilated-ce"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        for name, target in (("link", "/etc"), ("link/passwd", "x"), ("loop", "loop")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(stare, "ARCHIVE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    data = stare.open_stare(scale=1.0, url=server.url)
    assert data.cases[0].load().labels.shape == (10, 12)
    assert {found.name for found in tmp_path.rglob("*")} == {"www", "cache", "archive.tar.gz"}


def test_an_archive_is_not_opened_before_its_checksum_is_right(server, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("opened")

    (server.folder / "archive.tar.gz").write_bytes(b"a bomb")
    monkeypatch.setattr(tarfile, "open", refuse)
    with pytest.raises(DataError, match="is not the expected file"):
        stare.open_stare(url=server.url)


def test_a_member_that_is_a_link_to_nowhere_is_missing(server, tmp_path, monkeypatch):
    path = tmp_path / "www" / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo(stare.SPLIT)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    monkeypatch.setattr(stare, "ARCHIVE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match="is missing in it"):
        stare.open_stare(url=server.url)


def test_a_missing_member_is_named(server, monkeypatch):
    monkeypatch.setattr(stare, "SPLIT", "deepdraw/nowhere.json")
    with pytest.raises(DataError, match=r"deepdraw/nowhere.json is missing"):
        stare.open_stare(url=server.url)


@pytest.mark.parametrize("path", ["archive.tar.gz", "missing.tar.gz"])
def test_no_network_and_no_such_file(server, path):
    url = server.url.replace("archive.tar.gz", path)
    if path == "archive.tar.gz":
        url = "http://127.0.0.1:9/archive.tar.gz"  # nothing listens there
    with pytest.raises(DataError, match=f"{path} could not be fetched from http"):
        stare.open_stare(url=url)


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("DILATED_CE_CACHE", str(tmp_path))
    assert stare.cache_folder() == tmp_path
    monkeypatch.delenv("DILATED_CE_CACHE")
    assert stare.cache_folder().name == "dilated-ce"
