"""Noisy discs: no download, nothing like a patient."""

import functools

import numpy as np
from monai.data import create_test_image_2d

from dilated_ce.study.data.cases import Case, CaseSource, DataSet, Split


def make_synthetic(num_cases: int = 20, size: int = 160) -> DataSet:
    """Discs of random sizes from MONAI's generator; the first half is for training."""
    names = tuple(f"synthetic{number:02d}" for number in range(num_cases))
    half = num_cases // 2
    return DataSet(
        name="synthetic discs",
        source="Made by MONAI's create_test_image_2d; says nothing about medical images.",
        classes=("background", "disc"),
        channels=("grey",),
        spatial_dims=2,
        unit="px",
        ignore_index=None,
        cases=tuple(
            CaseSource(name, functools.partial(_make, name, number, size), name)
            for number, name in enumerate(names)
        ),
        folds=(Split(names[:half], (), names[half:]),),
        split="The first half is for training.",
    )


def _make(name: str, number: int, size: int) -> Case:
    image, labels = create_test_image_2d(
        size,
        size,
        num_objs=8,
        rad_max=12,
        rad_min=3,
        noise_max=0.6,
        num_seg_classes=1,
        random_state=np.random.RandomState(number),
    )
    return Case(name, image[None].astype(np.float32), labels.astype(np.uint8))
