import os
from pathlib import Path

import pytest
from toy import make_dataset

import dilated_ce
from dilated_ce.study import machine
from dilated_ce.study.data.cases import Split
from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.planning import best_rates, edges, plan_trials, plan_units, resolve
from dilated_ce.study.runs import unit as unit_module
from dilated_ce.study.runs.store import Failure
from dilated_ce.study.runs.unit import CORE, SHAPING, _arithmetic, shaping_code, shaping_files
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.training.loss_spec import parse_loss, source_file
from dilated_ce.study.training.settings import TrainingConfig


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return {dims: prepare(make_dataset(dims), folder / str(dims)) for dims in (2, 3)}


def config(out, **settings):
    return CompareConfig(data={"path": out}, losses=("ce", "dice"), out=out, **settings)


def test_patches_follow_the_data_and_the_network(prepared):
    assert resolve(TrainingConfig(), prepared[2]).patch_size == (48, 56)
    assert resolve(TrainingConfig(), prepared[3]).patch_size == (24, 24, 16)
    deep = TrainingConfig(channels=(4,) * 6)
    assert resolve(deep, prepared[3]).patch_size == (32, 32, 32)
    assert resolve(TrainingConfig(patch_size=64), prepared[3]).patch_size == (64, 64, 64)


def test_what_is_left_open_is_filled_in(prepared):
    flat, deep = (resolve(TrainingConfig(), prepared[dims]) for dims in (2, 3))
    assert (flat.batch_size, deep.batch_size) == (8, 4)
    assert flat.learning_rate == 3e-3
    assert flat.threads >= 1
    assert resolve(TrainingConfig(optimizer="sgd"), prepared[2]).learning_rate == 1e-2
    given = resolve(TrainingConfig(batch_size=3, learning_rate=1, threads=5), prepared[2])
    assert (given.batch_size, given.learning_rate, given.threads) == (3, 1, 5)


def test_a_patch_with_too_many_sides_is_named(prepared):
    with pytest.raises(SettingsError, match=r"patch_size: got 3 sides, expected one or 2 for 2D"):
        resolve(TrainingConfig(patch_size=(16, 16, 16)), prepared[2])


def test_every_loss_seed_and_fold_is_a_unit(prepared, tmp_path):
    folds = (Split(("case0",), (), ("case1",)), Split(("case1",), (), ("case0",)))
    units = plan_units(config(tmp_path, seeds=3), make_dataset(folds=folds), prepared[2])
    assert len({unit.folder for unit in units}) == len(units) == 12
    # Whole comparisons first.
    assert [(u.seed, u.fold, u.loss.name) for u in units[:3]] == [
        (0, 0, "ce"),
        (0, 0, "dice"),
        (0, 1, "ce"),
    ]
    assert units[2].judged == ("case0",)
    assert len({unit.fingerprint for unit in units}) == 12


def test_runs_share_the_cores_whatever_their_number_at_once(prepared, tmp_path, monkeypatch):
    """Other sums would end in other digits, so `workers` changes no number of threads."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "12")
    monkeypatch.setattr(machine, "cores", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = {}
    for workers in (None, 1, 5):
        settings = config(tmp_path, seeds=2, tune={}, execution={"workers": workers})
        (unit, *_), (trial, *_) = (
            plan(settings, make_dataset(), prepared[2]) for plan in (plan_units, plan_trials)
        )
        found[workers] = (unit.training.threads, trial.training.threads)
    assert set(found.values()) == {(3, 2)}  # of 4 runs, and 6 trials


def test_folders_mean_the_same_wherever_a_process_runs(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Prepared(Path(os.path.relpath(prepared[2].folder)))
    settings = config(Path("study"), tune={})
    for unit in plan_units(settings, make_dataset(), here) + plan_trials(
        settings, make_dataset(), here
    ):
        assert unit.prepared == prepared[2].folder.resolve()
        assert unit.runs == tmp_path.resolve() / "study" / "runs"


def test_the_best_rate_of_each_loss_and_fold(prepared, tmp_path):
    """Rates are chosen on the fold's own validation part: another one tests those cases."""
    names = [f"case{number}" for number in range(8)]
    folds = tuple(
        Split(tuple(set(names) - set(test) - {validation}), (validation,), test)
        for test, validation in ((("case6", "case7"), "case0"), (("case0", "case1"), "case6"))
    )
    data = make_dataset(folds=folds)
    settings = config(tmp_path, tune={"factors": (0.5, 1, 2)}, training={"steps": 90})
    trials = plan_trials(settings, data, prepared[2])
    assert [unit.training.learning_rate for unit in trials[:3]] == [0.0015, 0.003, 0.006]
    assert {unit.training.steps for unit in trials} == {90}  # as long as what it is for
    for unit in trials:
        assert unit.judged == folds[unit.fold].validation
        assert set(unit.judged).isdisjoint(folds[unit.fold].test)
    dice = iter([0.1, 0.4, 0.4, 0.2, None, 0.3, 0.9, 0.4, 0.4, 0.1, 0.2, 0.1])
    outcomes = []
    for unit in trials:
        value = next(dice)
        folder = unit.folder
        folder.mkdir(parents=True)
        (folder / "cases.csv").write_text(f"loss,case,group,class,dice\nx,a,a,c,{value}\n")
        failure = Failure(unit.loss, 0, 0, "broken", "")
        outcomes.append((unit, failure if value is None else unit.run))
    rates = best_rates(outcomes)
    ce, dice_loss = parse_loss("ce"), parse_loss("dice")
    assert rates == {
        (ce, 0): 0.003,
        (dice_loss, 0): 0.006,
        (ce, 1): 0.0015,
        (dice_loss, 1): 0.003,
    }
    units = plan_units(settings, data, prepared[2], rates)
    assert [unit.training.learning_rate for unit in units[:4]] == [0.003, 0.006, 0.0015, 0.003]
    warnings = edges(outcomes, rates)
    assert len(warnings) == 2
    assert "Dice, fold 0: the best learning rate, 0.006, is the largest of those" in warnings[0]
    assert "CE, fold 1: the best learning rate, 0.0015, is the smallest of those" in warnings[1]


def test_a_run_depends_on_all_that_trains_judges_and_sets_defaults(monkeypatch):
    package = Path(dilated_ce.__file__).parent
    shaping = {path for place in SHAPING for path in shaping_files(place)}
    for folder in ("training", "scores"):
        there = {path.relative_to(package) for path in (package / "study" / folder).glob("*.py")}
        assert there <= shaping
    assert {Path("study/runs/unit.py"), Path("study/data/prepare.py")} <= shaping
    core = {path.relative_to(package) for path in package.glob("*.py")}
    assert set(shaping_files(CORE)) == core
    before = shaping_code(SHAPING)
    changed = "study/scores/table.py"  # which says whether less is better
    monkeypatch.setattr(
        unit_module, "_arithmetic", lambda code: "x" if b"LOWER_IS_BETTER = " in code else ""
    )
    shaping_code.cache_clear()
    assert changed in {path.as_posix() for path in shaping}
    assert shaping_code(SHAPING) != before
    shaping_code.cache_clear()


def test_words_about_the_code_are_no_part_of_a_fingerprint():
    code = '"""A module."""\ndef double(x):\n    """Twice."""\n    return 2 * x\n'
    other_words = "def double(x):  # twice\n    return 2 * x\n"
    assert _arithmetic(code) == _arithmetic(other_words)
    assert _arithmetic(code) != _arithmetic(code.replace("2 *", "3 *"))
    assert _arithmetic('class Empty:\n    """Nothing."""\n') == _arithmetic("class Empty: pass\n")


def test_the_file_of_an_own_loss_is_part_of_a_fingerprint(prepared, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "loss_that_is_edited.py"
    code = "import torch\n\n\nclass Loss(torch.nn.Module):\n    scale = 2\n"

    def fingerprint(source):
        path.write_text(source)
        settings = CompareConfig(
            data={"path": tmp_path}, losses=("loss_that_is_edited:Loss",), out=tmp_path
        )
        return plan_units(settings, make_dataset(), prepared[2])[0].fingerprint

    before = fingerprint(code)
    assert fingerprint(f"# another word\n{code}") == before
    assert fingerprint(code.replace("2", "3")) != before
    assert fingerprint("half a file(") != before  # of no use, and no reason to stop


def test_a_loss_may_have_no_source():
    assert source_file("ce") is None
    assert source_file("builtins:dict") is None
