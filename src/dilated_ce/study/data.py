"""Images with their label maps, split into training and test cases."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import create_test_image_2d
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"}
LOSSY_SUFFIXES = {".jpg", ".jpeg"}
MAX_CLASSES = 50  # masks with larger values are grey values rather than class indices


class DataError(Exception):
    """Data that cannot be used; the message says what is wrong with which files, and what to do."""


@dataclass(frozen=True)
class Case:
    """One image with its label map."""

    name: str
    image: NDArray[np.float32]  # (3, H, W), 0 to 1
    labels: NDArray[np.uint8]  # (H, W), class indices, 0 is the background


@dataclass(frozen=True)
class StudyData:
    """The cases of a study, and what the report says about them."""

    name: str
    source: str  # where it is from and whom to credit, one sentence
    classes: tuple[str, ...]  # names, background first
    train: tuple[Case, ...]
    test: tuple[Case, ...]

    @cached_property
    def digest(self) -> str:
        """A hash of every pixel and of the split."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.test):
            for case in part:
                digest.update(f"{case.name}{case.image.shape}".encode())
                digest.update(case.image.tobytes())
                digest.update(case.labels.tobytes())
            digest.update(b"|")
        return digest.hexdigest()

    @property
    def foreground(self) -> float:
        """The share of the pixels that belong to any foreground class."""
        labels = [case.labels for case in self.train + self.test]
        return float(
            sum(np.count_nonzero(part) for part in labels) / sum(part.size for part in labels)
        )


def load_folder(folder: Path, scale: float = 1.0) -> StudyData:
    """Read 2D images and masks with the same names from `images/` and `masks/`.

    The last quarter of the sorted names is the test part; a folder with `train/` and `test/`, each
    with `images/` and `masks/`, is taken as it is split. Masks hold class indices, or grey values
    where more than 127 is foreground.

    Raises:
        DataError: with every problem found in the files, by name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one with images/ and masks/.")
    if (folder / "images").is_dir():
        pairs = _pair_files(folder)
        if len(pairs) < 2:
            raise DataError(
                f"{folder}/images: got {len(pairs)} image, expected at least 2: one to train on "
                "and one to test on."
            )
        num_test = max(1, len(pairs) // 4)
        split = {"train": pairs[:-num_test], "test": pairs[-num_test:]}
    elif (folder / "train" / "images").is_dir() and (folder / "test" / "images").is_dir():
        split = {part: _pair_files(folder / part) for part in ("train", "test")}
    else:
        raise DataError(
            f"{folder}: found neither images/ and masks/, nor train/ and test/ that hold them."
        )

    problems: list[str] = []
    images: dict[str, list[tuple[str, NDArray[np.float32], NDArray[np.uint8]]]] = {}
    values: set[int] = set()
    lossy = False
    for part, pairs in split.items():
        images[part] = []
        for image_path, mask_path in pairs:
            try:
                image, mask = read_image(image_path), read_mask(mask_path)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                problems.append(f"{image_path.name}: {error}")
                continue
            if image.shape[1:] != mask.shape:
                problems.append(
                    f"{image_path.name}: the image is {_size(image[0])} pixels, its mask "
                    f"{_size(mask)}; both have to match"
                )
            values.update(np.unique(mask).tolist())
            lossy |= mask_path.suffix.lower() in LOSSY_SUFFIXES
            images[part].append((image_path.stem, image, mask))
    if problems:
        raise DataError(_listing(f"{len(problems)} of the images cannot be used", problems))

    grey = max(values) >= MAX_CLASSES
    if grey and not lossy and len(values) > 2:
        shown = ", ".join(map(str, sorted(values)[:8]))
        raise DataError(
            f"{folder}: the masks hold the values {shown}{', ...' if len(values) > 8 else ''}; "
            f"expected two grey values such as 0 and 255, or class indices below {MAX_CLASSES}."
        )
    if values == {0}:
        raise DataError(f"{folder}: all masks are empty; expected a foreground to learn.")
    num_classes = 2 if grey else max(max(values) + 1, 2)
    cases = {
        part: tuple(
            rescale(Case(name, image, (mask > 127).astype(np.uint8) if grey else mask), scale)
            for name, image, mask in entries
        )
        for part, entries in images.items()
    }
    names = ("foreground",) if num_classes == 2 else tuple(map(str, range(1, num_classes)))
    return StudyData(
        folder.resolve().name, str(folder), ("background", *names), cases["train"], cases["test"]
    )


def make_synthetic(num_cases: int = 20, size: int = 160) -> StudyData:
    """Noisy discs of random sizes from MONAI's generator: no download, nothing like a patient."""
    random = np.random.RandomState(0)
    cases = []
    for index in range(num_cases):
        image, labels = create_test_image_2d(
            size,
            size,
            num_objs=8,
            rad_max=12,
            rad_min=3,
            noise_max=0.6,
            num_seg_classes=1,
            random_state=random,
        )
        rgb = np.repeat(image[None].astype(np.float32), 3, axis=0)
        cases.append(Case(f"synthetic{index:02d}", rgb, labels.astype(np.uint8)))
    half = num_cases // 2
    return StudyData(
        "synthetic discs",
        "Made by MONAI's create_test_image_2d; says nothing about medical images.",
        ("background", "disc"),
        tuple(cases[:half]),
        tuple(cases[half:]),
    )


def rescale(case: Case, scale: float) -> Case:
    """Resize by area; a pixel of the label map takes the class with the largest share in it."""
    if scale == 1.0:
        return case
    height, width = (max(1, round(side * scale)) for side in case.labels.shape)

    def resize(array: NDArray[np.float32]) -> NDArray[np.float32]:
        area: NDArray[np.float32] = F.interpolate(
            torch.from_numpy(array)[None], (height, width), mode="area"
        )[0].numpy()
        return area

    one_hot = case.labels[None] == np.arange(int(case.labels.max()) + 1)[:, None, None]
    shares = resize(one_hot.astype(np.float32))
    # A tie goes to the foreground: thin structures should not vanish.
    labels = (len(shares) - 1 - shares[::-1].argmax(0)).astype(np.uint8)
    return Case(case.name, resize(case.image), labels)


def read_image(file: Path | IO[bytes]) -> NDArray[np.float32]:
    """An image of 8 or 16 bits as float32 (3, H, W) from 0 to 1; grey images are repeated."""
    with _open(file) as image:
        if image.mode.startswith("I;16"):
            grey = np.asarray(image, dtype=np.float32) / 65535
            return np.repeat(grey[None], 3, axis=0)
        if image.mode in ("I", "F"):
            raise ValueError(f"got pixels of 32 bits (mode {image.mode}), expected 8 or 16 bits")
        rgb = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
        return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def read_mask(file: Path | IO[bytes]) -> NDArray[np.uint8]:
    """A mask as uint8 (H, W): indices of a palette image, else grey values."""
    with _open(file) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"got a mask of mode {image.mode}, expected 8 bits per pixel")
        return np.array(image if image.mode in ("1", "P") else image.convert("L"), dtype=np.uint8)


@contextmanager
def _open(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    try:
        with Image.open(file) as image:
            image.load()
            yield image
    except UnidentifiedImageError:
        raise ValueError("is not an image that Pillow can read") from None


def _pair_files(folder: Path) -> list[tuple[Path, Path]]:
    """The images of `folder/images` with the masks of the same name in `folder/masks`, sorted."""
    if not (folder / "masks").is_dir():
        raise DataError(f"{folder}/masks is missing; expected a mask for each of {folder}/images.")
    images, masks = (_files_by_name(folder / part) for part in ("images", "masks"))
    if not images:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{folder}/images holds no image; expected files with {suffixes}.")
    problems = [f"images/{name}: no mask of that name" for name in images if name not in masks]
    problems += [f"masks/{name}: no image of that name" for name in masks if name not in images]
    if problems:
        raise DataError(_listing(f"{folder}: images and masks do not pair up", problems))
    return [(images[name], masks[name]) for name in sorted(images)]


def _files_by_name(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in files:
                raise DataError(f"{folder}: {files[path.stem].name} and {path.name} share a name.")
            files[path.stem] = path
    return files


def _listing(heading: str, problems: list[str], most: int = 20) -> str:
    more = [f"... and {len(problems) - most} more"] if len(problems) > most else []
    return "\n  - ".join([heading + ":", *problems[:most], *more])


def _size(plane: NDArray[np.generic]) -> str:
    return " x ".join(map(str, plane.shape[::-1]))
