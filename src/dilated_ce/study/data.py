"""Images with their label maps, split into training and test cases."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from monai.data import create_test_image_2d
from numpy.typing import NDArray

from dilated_ce.study.cases import DataError
from dilated_ce.study.images import naming, read_image, rescale_image, rescale_labels, scaled
from dilated_ce.study.masks import MaskError, classes_of_masks, read_mask

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"}


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
    source: str  # where it is from and whom to credit, a sentence
    split: str  # how it was split into training and test cases, a sentence
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
    with `images/` and `masks/`, is taken as it is split. For the masks see `classes_of_masks`.

    Raises:
        DataError: with every problem found in the files, by name.
    """
    parts, split = _split_files(folder)
    problems: list[str] = []
    images: dict[str, NDArray[np.float32]] = {}
    masks: dict[str, NDArray[np.uint16]] = {}
    for image_path, mask_path in (pair for pairs in parts.values() for pair in pairs):
        pair = f"images/{image_path.name}, masks/{mask_path.name}"
        try:
            with naming(f"images/{image_path.name}"):
                image = read_image(image_path)
            with naming(f"masks/{mask_path.name}"):
                mask = read_mask(mask_path)
            if image.shape[1:] != mask.shape:
                raise ValueError(f"{pair}: got {_size(image[0])} and {_size(mask)} pixels")
        except ValueError as error:
            problems.append(str(error))
            continue
        # The image is resized at once, as 100 large photographs would not fit into memory.
        images[str(image_path)] = rescale_image(image, scaled(mask.shape, scale))
        masks[str(mask_path)] = mask
    if problems:
        heading = f"{folder}: {len(problems)} of the cases cannot be used"
        raise DataError(_listing(heading, problems))
    try:
        classes, label_maps = classes_of_masks(masks)
    except MaskError as error:
        raise DataError(f"{folder}: {error}") from error

    cases = {
        part: tuple(
            Case(
                image_path.stem,
                images[str(image_path)],
                rescale_labels(label_maps[str(mask_path)], scale),
            )
            for image_path, mask_path in pairs
        )
        for part, pairs in parts.items()
    }
    for part, part_cases in cases.items():
        shares = [np.count_nonzero(case.labels) / case.labels.size for case in part_cases]
        if max(shares) == 0 or min(shares) == 1:
            what = "no foreground in any mask" if max(shares) == 0 else "nothing but foreground"
            raise DataError(f"{folder}: the {part} part has {what}; expected some of both.")
    return StudyData(
        folder.resolve().name,
        f"Images from the folder {folder.resolve().name}.",
        split,
        classes,
        cases["train"],
        cases["test"],
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
        "The first half is for training.",
        ("background", "disc"),
        tuple(cases[:half]),
        tuple(cases[half:]),
    )


def _split_files(folder: Path) -> tuple[dict[str, list[tuple[Path, Path]]], str]:
    """The pairs of image and mask of the training and the test part, and how they were split."""
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
        parts = {"train": pairs[:-num_test], "test": pairs[-num_test:]}
        return parts, "The last quarter of the sorted names is the test part."
    if (folder / "train" / "images").is_dir() and (folder / "test" / "images").is_dir():
        parts = {part: _pair_files(folder / part) for part in ("train", "test")}
        others = sorted(
            path.name for path in folder.iterdir() if path.is_dir() and path.name not in parts
        )
        unused = f"; {', '.join(others)} is not used" if others else ""
        return parts, f"Split as the folders train and test are{unused}."
    raise DataError(
        f"{folder}: found neither images/ and masks/, nor train/ and test/ that hold them."
    )


def _pair_files(folder: Path) -> list[tuple[Path, Path]]:
    """The images of `folder/images` with the masks of the same name in `folder/masks`, sorted."""
    if not (folder / "masks").is_dir():
        raise DataError(f"{folder}/masks is missing; expected a mask for each of {folder}/images.")
    images, masks = (_files_by_name(folder / part) for part in ("images", "masks"))
    if not images:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(
            f"{folder}/images holds no image; expected files with {suffixes}. Folders in it are "
            "not searched."
        )
    problems = [f"images/{name}: no mask of that name" for name in images if name not in masks]
    problems += [f"masks/{name}: no image of that name" for name in masks if name not in images]
    if problems:
        heading = f"{folder}: images and masks do not pair up; a mask has its image's name"
        raise DataError(_listing(heading, problems))
    return [(images[name], masks[name]) for name in sorted(images)]


def _files_by_name(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not hidden:
            if path.stem in files:
                raise DataError(f"{folder}: {files[path.stem].name} and {path.name} share a name.")
            files[path.stem] = path
    return files


def _listing(heading: str, problems: list[str], most: int = 20) -> str:
    more = [f"... and {len(problems) - most} more"] if len(problems) > most else []
    return "\n  - ".join([heading + ":", *problems[:most], *more])


def _size(plane: NDArray[np.generic]) -> str:
    return " x ".join(map(str, plane.shape[::-1]))
