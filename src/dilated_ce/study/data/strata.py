"""Kinds of cases, of which every part of a split is to have its share."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from dilated_ce.study.data.checking import Look

SIZES = 3  # thirds of the cases by the size of their foreground


def find_strata(looks: Mapping[str, Look]) -> dict[str, str]:
    """The kind of each case: which classes it holds, and which third its foreground is in by size.

    One that could not be read is of no kind; the checks of all cases tell of it.

    Examples:
        >>> find_strata({"a": Look(shape=(2, 2), voxels=(4, 0)), "b": Look(("gone",))})
        {'a': '0; 0', 'b': 'unread; 0'}
    """
    present: dict[str, str] = {}
    shares: dict[str, float] = {}
    for name, look in looks.items():
        if not look.voxels:
            present[name] = "unread"
            continue
        present[name] = ",".join(map(str, np.flatnonzero(look.voxels)))
        labelled = math.prod(look.shape) - look.ignored
        shares[name] = (labelled - look.voxels[0]) / max(1, labelled)
    sizes = pd.Series(shares, dtype=float)
    ranks = sizes[sizes > 0].rank(method="first", pct=True)
    thirds = np.ceil(ranks * SIZES).astype(int)
    return {name: f"{kind}; {thirds.get(name, 0)}" for name, kind in present.items()}
