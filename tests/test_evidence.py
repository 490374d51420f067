"""The evidence study, on data of a minute's size."""

import ablations
import claims
import numpy as np
import pandas as pd
import pytest
import sets
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from PIL import Image

from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, StudyError
from dilated_ce.study.training.loss_spec import parse_loss


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two small data sets in the place of the eight."""
    random = np.random.default_rng(0)
    for number in range(20):
        mask = np.zeros((32, 32), np.uint8)
        if number % 5:  # every fifth is healthy
            row, column = random.integers(4, 20, 2)
            mask[row : row + 8, column : column + 8] = 255
        image = (mask // 2 + random.integers(0, 60, mask.shape)).astype(np.uint8)
        for kind, values in {"images": image, "masks": mask}.items():
            path = tmp_path / "data" / "shapes" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    monkeypatch.setenv("DILATED_CE_DATA", str(tmp_path / "data"))
    options = {"steps": 2, "patch": (16, 16), "batch": 2}
    found = {
        "elsewhere": sets.Set("nowhere", {}, **options),
        "lesions": sets.Set("shapes", {"folds": 2}, healthy=False, **options),
        "all": sets.Set("shapes", {}, **options),
        "again": sets.Set("shapes", {"folds": 2}, choices_of="lesions", **options),
    }
    monkeypatch.setattr(sets.Set, "training", smaller(sets.Set.training))
    for name, value in {
        "SETS": found,
        "RUNS": tmp_path / "runs",
        "HERE": tmp_path / "tables",
        "RADII": (1, 2),
        "RATES": (1e-3, 3e-3),
        "BEYOND": {3e-3: 9e-3},
        "GROUPS": {"main": ({arm: sets.MAIN[arm] for arm in ("dice-ce", "dbce")}, 2)},
    }.items():
        monkeypatch.setattr(claims, name, value)
    monkeypatch.setattr(sets, "GROUPS", claims.GROUPS)
    (tmp_path / "tables").mkdir()
    return tmp_path


def smaller(training):
    small = {"channels": (4, 8), "precision": "32-true", "forward": "eager"}
    return lambda self, **changes: training(self, **small, **changes)


def study_of(name):
    return claims.Study.open(name, ExecutionConfig(workers=1))


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["claims.py", *words, "--workers", "1", "--group", "main",
                                     "--sets", "elsewhere", "lesions", "all", "again"])  # fmt: skip
    claims.main()


def test_it_chooses_on_validation_trains_and_goes_on_from_its_tables(small, monkeypatch):
    run(monkeypatch, "run")
    for name, folds in (("lesions", [0, 1]), ("all", [0]), ("again", [0, 1])):
        of = "lesions" if name == "again" else name
        assert (name == of) == (small / "tables" / name / "trials.csv").exists()
        trials = pd.read_csv(small / "tables" / of / "trials.csv")
        assert len(trials) >= 2 + 2 + 1  # two radii, and two rates for each arm
        assert not trials.duplicated(["loss", "rate"]).any()
        best_of = trials.set_index(["loss", "rate"])["validation_dice"]
        for loss in trials["loss"].unique():
            tried = best_of[loss]
            if len(tried) > 1 and tried.idxmax() == 9e-3:
                assert len(tried) == 3  # past the edge
            if len(tried) == 2:
                assert tried[1e-3] >= tried[3e-3]
        cases = pd.read_csv(small / "tables" / name / "cases.csv", dtype={"case": str})
        assert set(cases["arm"]) == {"dice-ce", "dbce"}
        assert sorted(set(cases["fold"])) == folds
        key = ["arm", "seed", "fold"]
        curves = pd.read_csv(small / "tables" / name / "curves.csv").drop_duplicates()
        assert curves["dice"].between(0, 1).all()
        assert set(curves[key].itertuples(index=False)) == set(cases[key].itertuples(index=False))
        for (arm, _), rows in cases.groupby(["arm", "fold"]):
            ours = trials[trials["loss"] == rows["loss"].iloc[0]]
            best = ours.sort_values(["validation_dice", "rate"], ascending=[False, True])
            assert rows["rate"].iloc[0] == best["rate"].iloc[0], arm
        by_run = cases.groupby(["arm", "seed", "fold"])["case"].agg(set)
        for arm, *_ in by_run.index:
            assert by_run[arm].tolist() == by_run["dice-ce"].tolist()
    healthy = {str(number) for number in range(0, 20, 5)}
    lesions, whole = (
        pd.read_csv(small / "tables" / name / "cases.csv", dtype={"case": str})
        for name in ("lesions", "all")
    )
    assert not healthy & set(lesions["case"])
    chosen_on = set(study_of("lesions").data.folds[0].validation)
    assert chosen_on  # and never tested; each other one is, once
    assert set(lesions["case"]) == {str(n) for n in range(20)} - healthy - chosen_on
    assert not lesions.duplicated(["arm", "case"]).any()
    assert healthy & set(whole["case"])

    before = (small / "tables" / "all" / "cases.csv").read_text()
    assert study_of("all").finished(small / "tables" / "all" / "cases.csv") == {
        (arm, seed, 0) for arm in ("dice-ce", "dbce") for seed in (0, 1)
    }
    torn = small / "torn.csv"  # an interruption in the middle of a line
    torn.write_text(before[: before.rindex("\n", 0, -10) - 20])
    assert len(study_of("all").finished(torn)) == 3
    assert before.startswith(torn.read_text())
    monkeypatch.setattr(claims, "carry_out", lambda units, execution: [] if not units else 1 / 0)
    run(monkeypatch, "run")  # nothing is missing
    assert (small / "tables" / "all" / "cases.csv").read_text() == before


def test_the_arms_are_losses():
    for arms, _ in sets.GROUPS.values():
        for pattern in arms.values():
            assert parse_loss(pattern.format(radius=4))


def test_the_protocol_names_what_is_run():
    protocol = (claims.HERE.parent / "PROTOCOL.md").read_text(encoding="utf-8")
    for name in sets.SETS:
        assert f"\n| {name} |" in protocol
    assert ", ".join(map(str, sets.RADII)) in protocol
    assert f"split seed {sets.SPLIT_SEED}" in protocol


@pytest.mark.parametrize("kind", ["WithoutDilation", "WithoutShares"])
def test_ablations_are_half_plain_and_half_of_a_rule(kind):
    labels = torch.zeros(2, 1, 20, 24, dtype=torch.long)
    labels[0, 0, 5:9, 6:12], labels[1, 0, 10:, :] = 1, 2
    logits = torch.randn(2, 3, 20, 24, generator=torch.manual_seed(0))
    loss = getattr(ablations, kind)()
    half = loss.weigh(labels[:, 0], 3)
    if kind == "WithoutDilation":  # of a class with n voxels sqrt(V / n)
        assert half[0, 6, 7] / half[0, 0, 0] == pytest.approx(((480 - 24) / 24) ** 0.5)
    else:  # of the voxels that only the background holds and those of both
        assert len(half[0].unique()) == 2
        assert half[0].max() == half[0, 6, 7] > half[0, 0, 0]
    weights = 0.5 + 0.5 * half / half.mean((1, 2), keepdim=True)
    expected = (weights * F.cross_entropy(logits, labels[:, 0], reduction="none")).mean()
    expected += DiceLoss(softmax=True, to_onehot_y=True)(logits, labels)
    torch.testing.assert_close(loss(logits, labels), expected)


def test_a_trial_that_failed_is_no_choice_and_is_tried_anew(small, monkeypatch):
    def fail(units, execution):
        yield from ((u, Failure(u.loss, u.seed, u.fold, "no memory", ""), False) for u in units)

    with monkeypatch.context() as patch:
        patch.setattr(claims, "carry_out", fail)
        with pytest.raises(StudyError, match="2 trials failed, such as"):
            study_of("all").choose({"dice-ce": "dice-ce"})
    assert not (small / "tables" / "all" / "trials.csv").exists()
    assert study_of("all").choose({"dice-ce": "dice-ce"})["dice-ce"][0] == "dice-ce"


def test_the_long_schedule_has_a_larger_network_and_its_own_table(small, monkeypatch):
    monkeypatch.setattr(claims, "LONG_STEPS", {"all": 6})
    study = study_of("all")
    long = study.long()
    assert long.what.steps == 6
    assert long.what.channels == sets.LONG_CHANNELS[2]
    assert long.what.training().forward == "eager"
    assert long.table == "cases_long.csv"
    assert study.table == "cases.csv"
