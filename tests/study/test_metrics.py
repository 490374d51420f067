import math

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dilated_ce.study.metrics import score

maps = npst.arrays(np.uint8, (5, 6), elements=st.integers(0, 3))


@given(prediction=maps, labels=maps)
def test_equals_the_counts(prediction, labels):
    for index, scores in enumerate(score(prediction, labels, num_classes=4), start=1):
        found, true = prediction == index, labels == index
        hits = int((found & true).sum())
        either = int(found.sum() + true.sum())
        for value, count, total in (
            (scores.dice, 2 * hits, either),
            (scores.recall, hits, true.sum()),
            (scores.precision, hits, found.sum()),
        ):
            if total:
                assert value == pytest.approx(count / total)
            else:
                assert math.isnan(value)
