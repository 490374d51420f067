"""STARE: 20 retinal photographs with hand-drawn vessels, fetched once into a cache.

Hoover, Kouznetsova and Goldbaum, "Locating blood vessels in retinal images by piecewise threshold
probing of a matched filter response", IEEE Transactions on Medical Imaging 19(3), 2000. The images
travel in the source distribution of the package deepdraw on PyPI, as its test data; its split of
10 training and 10 test images and its first observer (A. Hoover) are used.
"""

import functools
import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import platformdirs
import pooch
import requests

from dilated_ce.study.data.cases import Case, CaseSource, DataError, DataSet, Split
from dilated_ce.study.data.images import (
    COLOURS,
    read_image,
    rescale_image,
    rescale_labels,
    scaled,
)
from dilated_ce.study.data.masks import read_mask

URL = (
    "https://files.pythonhosted.org/packages/96/e8/"
    "bb948b1ddf5048dbf013f76117f50c7d98dfc77ddac4898f3d09b243b028/deepdraw-1.5.0.tar.gz"
)
ARCHIVE_SHA256 = "d96209946ae8f5d9a4b8ef8d99c651c13c058e61b242e41a06087577c7a2c36d"
DATABASE_SHA256 = "136e7b59f7109680dadfc6c3a7fc66d1f82c10848ccb12c6b531ee18dd294ecc"
DATABASE = "deepdraw-1.5.0/tests/data/deepdraw-ci-assets/test-database.zip"
SPLIT = "deepdraw-1.5.0/src/deepdraw/data/stare/ah.json"


def cache_folder() -> Path:
    """Where downloads are kept: `$DILATED_CE_CACHE`, else the user's cache folder."""
    folder = os.environ.get("DILATED_CE_CACHE")
    return Path(folder) if folder else platformdirs.user_cache_path("dilated-ce")


def open_stare(scale: float = 0.5, url: str = URL) -> DataSet:
    """Find STARE's images, downloading their 24 MB the first time.

    Args:
        scale: factor by which the 700 x 605 images are resized.
        url: where the archive is fetched from; its checksum stays the same.

    Raises:
        DataError: if the archive cannot be fetched, or is not the one that is expected.
    """
    archive = fetch(url, ARCHIVE_SHA256, cache_folder())
    with tarfile.open(archive) as tar:
        split = json.loads(_member(tar, SPLIT))
        database = _member(tar, DATABASE)
    if hashlib.sha256(database).hexdigest() != DATABASE_SHA256:
        raise DataError(f"{archive}: {DATABASE} in it does not have the expected checksum.")
    parts = {
        part: tuple(Path(image).stem for image, _, _ in split[part]) for part in ("train", "test")
    }
    cases = tuple(
        CaseSource(
            name := Path(image).stem,
            functools.partial(_load, archive, image, mask, scale),
            name,
            (archive,),
        )
        for part in ("train", "test")
        for image, mask, _ in split[part]
    )
    return DataSet(
        name="STARE",
        source="STARE retinal photographs, first observer; Hoover et al., IEEE TMI 2000.",
        classes=("background", "vessel"),
        channels=COLOURS,
        spatial_dims=2,
        unit="px",
        ignore_index=None,
        cases=cases,
        folds=(Split(parts["train"], (), parts["test"]),),
        split="Split into 10 and 10 as by the package deepdraw.",
    )


def _load(archive: Path, image: str, mask: str, scale: float) -> Case:
    """One image of the archive with its vessels."""
    with tarfile.open(archive) as tar:
        database = _member(tar, DATABASE)
    with zipfile.ZipFile(io.BytesIO(database)) as images:
        pixels = read_image(io.BytesIO(images.read(image)))
        vessels = (read_mask(io.BytesIO(images.read(mask))) > 127).astype(np.uint8)
    labels = rescale_labels(vessels, scale)
    return Case(Path(image).stem, rescale_image(pixels, scaled(vessels.shape, scale)), labels)


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """Download a file once, with a progress bar, and check it; the path to it.

    Raises:
        DataError: no network, a refused request, a full disk, or a file that is not the expected.
    """
    name = url.rsplit("/", 1)[-1]
    # pooch writes to a temporary file and moves it once its checksum is right.
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(url, f"sha256:{sha256}", name, folder, progressbar=True)
    except (requests.RequestException, OSError) as error:
        response = getattr(error, "response", None)
        # The messages of requests repeat its inner objects; the kind of error says it shorter.
        reason = f"status {response.status_code}" if response is not None else type(error).__name__
        if not isinstance(error, requests.RequestException):
            reason = str(error)
        raise DataError(
            f"{name} could not be fetched from {url} ({reason}). Is there a network? Or put the "
            f"file, fetched elsewhere, into {folder} (SHA-256 {sha256})."
        ) from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise DataError(f"{name} from {url} is not the expected file: {error}") from error
    return Path(path)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    """The bytes of one file of the archive; nothing is unpacked to disk."""
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DataError(f"{tar.name!s}: {name} is missing in it.")
    return file.read()
