"""Judging a network: the same scores whatever the number of processes."""

import numpy as np
import pandas as pd
import pytest
import torch
from toy import make_dataset

from dilated_ce.study import processes
from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.runs.judging import judge
from dilated_ce.study.scores.calibration import classwise_ece
from dilated_ce.study.scores.lesions import lesion_table
from dilated_ce.study.scores.score import score_case
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.training.infer import predict
from dilated_ce.study.training.networks import build_network
from dilated_ce.study.training.settings import ResolvedTraining


@pytest.fixture
def prepared(tmp_path):
    return prepare(make_dataset(), tmp_path / "prepared")


def training(threads):
    return ResolvedTraining(
        steps=1, batch_size=2, patch_size=(16, 16), channels=(4, 8), device="cpu",
        threads=threads, learning_rate=1e-2,
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
def test_scores_are_those_of_each_case_in_the_order_of_the_cases(prepared, monkeypatch, threads):
    monkeypatch.setattr(processes, "ALONE_SECONDS", 0.0)  # others begin at once
    torch.manual_seed(0)
    network = build_network(training(1), 2, len(prepared.index["channels"]), 3).eval()
    names = ("case3", "case0", "case4", "case1", "case2")
    seen = {}
    cases, lesions = judge(
        network,
        prepared,
        names,
        0,
        training(threads),
        ScoringConfig(tolerance=1),
        seen.__setitem__,
    )
    assert tuple(seen) == names
    rows, of_lesions = [], []
    for name in names:
        case = prepared.load(name)
        found, probabilities = predict(network, case, training(1), torch.device("cpu"))
        np.testing.assert_array_equal(seen[name], found)
        ece = [classwise_ece(probabilities[index], case.labels, index) for index in (1, 2)]
        scores = score_case(found, case.labels, 3, spacing=case.spacing, tolerance=1, ece=ece)
        group = prepared.index["cases"][name]["group"]
        classes = prepared.index["classes"]
        rows += [
            {"case": name, "group": group, "class": label, **row}
            for label, row in zip(classes[1:], scores, strict=True)
        ]
        table = lesion_table(found, case.labels, classes, case.spacing)
        of_lesions += [{"case": name, **row} for row in table]
    pd.testing.assert_frame_equal(cases, pd.DataFrame(rows))
    pd.testing.assert_frame_equal(lesions, pd.DataFrame(of_lesions))
    assert cases["ece"].notna().all()
