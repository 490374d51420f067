"""A data set made on the spot: noisy balls with a core, read case by case."""

import functools

import numpy as np

from dilated_ce.study.data.cases import Case, CaseSource, DataSet, Split
from dilated_ce.study.data.checking import check, look_at_cases

SHAPES = {2: (48, 56), 3: (24, 28, 20)}


def make_case(number, dims, channels=1):
    random = np.random.default_rng(number)
    shape = SHAPES[dims]
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    centre = np.array([random.uniform(8, side - 8) for side in shape])
    distance = np.sqrt(((grid - centre.reshape(-1, *[1] * dims)) ** 2).sum(0))
    labels = (distance < 7).astype(np.uint8) + (distance < 4)
    noise = random.normal(scale=0.3, size=(channels, *shape))
    return Case(f"case{number}", (labels + noise).astype(np.float32), labels, (1.0,) * dims)


def make_dataset(dims=2, cases=8, validation=1, test=3, **facts):
    names = [f"case{number}" for number in range(cases)]
    train = cases - validation - test
    split = Split(
        tuple(names[:train]), tuple(names[train : train + validation]), tuple(names[-test:])
    )
    return DataSet(
        **{
            "name": "toy",
            "source": "Made on the spot.",
            "classes": ("background", "rim", "core"),
            "channels": ("MRI",),
            "spatial_dims": dims,
            "unit": "px",
            "ignore_index": None,
            "cases": tuple(
                CaseSource(name, functools.partial(make_case, number, dims), name)
                for number, name in enumerate(names)
            ),
            "folds": (split,),
            "split": "The last ones are the test part.",
            **facts,
        }
    )


def check_cases(data, on_case=lambda: None):
    """Read every case, and say all that is wrong."""
    return check(data, look_at_cases(data, on_case))
