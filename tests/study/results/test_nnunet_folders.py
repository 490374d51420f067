"""nnU-Net's results folders: what is read, what is scored anew, and what is said to be missing."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from nnunet_results import masks, v1_summary, v2_summary, write_v2

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.reporting import report
from dilated_ce.study.results.nnunet import open_results, read_summaries
from dilated_ce.study.scores.score import score_case
from dilated_ce.study.scores.table import SCORES
from dilated_ce.study.settings.report import ReportConfig
from dilated_ce.study.statistics.comparison import compare_family
from dilated_ce.study.statistics.side_by_side import side_by_side

ONE_METHOD = ["there is one method, nnUNetTrainer: nothing is compared"]


def report_on(tmp_path, results, **settings):
    sources = [path if isinstance(path, dict) else {"path": path} for path in results]
    values = {"resamples": 200, "jobs": 1, "out": tmp_path / "out", **settings}
    made = report(ReportConfig(results=sources, **values))
    return made, json.loads((tmp_path / "out" / "summary.json").read_text())


def by_hand(method, wrong, folds=2, cases=6, empty="score"):
    """The scores of the masks themselves."""
    truth, found = masks(cases, wrong=wrong)
    rows = []
    for place, name in enumerate(sorted(truth)):
        scores = score_case(
            found[name], truth[name], 3, spacing=(1.0, 1.5, 2.0), tolerance=2.0, empty=empty
        )
        for class_name, row in zip(("anterior", "posterior"), scores, strict=True):
            who = {"loss": method, "seed": 0, "fold": place % folds, "case": name, "group": name}
            rows.append({**who, "class": class_name, **row})
    return pd.DataFrame(rows)


def test_a_report_is_that_of_the_predictions(tmp_path):
    folders = [
        write_v2(tmp_path, "nnUNetTrainer", 0.1, cases=9),
        write_v2(tmp_path, "nnUNetTrainerDBCEDice", 0.2, cases=9),
    ]
    made, summary = report_on(tmp_path, folders)
    expected = pd.concat(
        [by_hand("nnUNetTrainer", 0.1, cases=9), by_hand("nnUNetTrainerDBCEDice", 0.2, cases=9)]
    )
    keys = ["loss", "fold", "case", "class"]
    found = made.cases.set_index(keys).sort_index()
    expected = expected.set_index(keys).sort_index()
    for score in set(SCORES) - {"ece"}:
        np.testing.assert_allclose(found[score], expected[score], rtol=1e-6, err_msg=score)
    family = compare_family(side_by_side(expected.reset_index()), "nnUNetTrainer")
    told = summary["verdicts"][0]["comparisons"]
    assert [row["metric"] for row in told] == [result.metric for result in family]
    assert [row["low"] for row in told] == pytest.approx([result.low for result in family])
    assert summary["troubles"] == []
    assert set(made.cases["dataset"]) == {"Dataset004_Toy"}
    assert "Dataset004_Toy: 2 methods compared" in made.path.read_text()


@pytest.mark.parametrize("empty", ["score", "skip"])
def test_summaries_alone_give_overlaps_and_false_alarms(tmp_path, empty):
    folder = write_v2(tmp_path, predictions=False)
    read = read_summaries(open_results(folder), "x", empty)
    found = read.cases.set_index(["case", "class"]).sort_index()
    expected = by_hand("x", 0.1, empty=empty).set_index(["case", "class"]).sort_index()
    for score in ("dice", "recall", "precision", "false_alarm"):
        np.testing.assert_allclose(found[score], expected[score], err_msg=score)
    assert found["fold"].tolist() == expected["fold"].tolist()
    _, summary = report_on(tmp_path, [folder])
    assert "overlaps alone are read, no surface and lesion scores" in summary["troubles"][0]


def test_the_truth_may_be_named(tmp_path):
    folder = write_v2(tmp_path)
    moved = tmp_path / "labels"
    shutil.move(tmp_path / "nnUNet_preprocessed" / "Dataset004_Toy" / "gt_segmentations", moved)
    _, summary = report_on(tmp_path, [folder])
    assert "6 true masks of 6 are not at hand (--truth DIR" in summary["troubles"][0]
    _, summary = report_on(tmp_path, [folder], truth=moved)
    assert summary["troubles"] == ONE_METHOD
    assert summary["methods"]["nnUNetTrainer"]["nsd"]["mean"] is not None


def test_the_truth_is_found_where_nnunet_keeps_it(tmp_path, monkeypatch):
    folder = write_v2(tmp_path)
    shutil.move(tmp_path / "nnUNet_preprocessed", tmp_path / "moved")
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "moved"))
    _, summary = report_on(tmp_path, [folder])
    assert summary["troubles"] == ONE_METHOD


def test_predictions_that_were_changed_are_noticed(tmp_path):
    folder = write_v2(tmp_path)
    summary = folder / "fold_0" / "validation" / "summary.json"
    contents = json.loads(summary.read_text())
    contents["metric_per_case"][0]["metrics"]["1"]["Dice"] = 0.123
    summary.write_text(json.dumps(contents))
    _, told = report_on(tmp_path, [folder])
    assert "case_00, anterior: 0.123, the files give" in told["troubles"][0]


def test_the_first_version(tmp_path):
    truth, found = masks()
    task = tmp_path / "nnUNet" / "3d_fullres" / "Task004_Toy"
    folder = task / "nnUNetTrainerV2__nnUNetPlansv2.1"
    for fold in range(2):
        of_fold = {name: found[name] for name in sorted(found)[fold::2]}
        for name in ("validation_raw", "validation_raw_postprocessed"):
            validation = folder / f"fold_{fold}" / name
            validation.mkdir(parents=True)
            summary = v1_summary(truth, of_fold, "/data/gt", "/old/machine")
            if name.endswith("postprocessed"):
                summary["results"]["all"] = []
            (validation / "summary.json").write_text(json.dumps(summary))
    opened = open_results(folder)
    assert (opened.dataset, opened.trainer) == ("Task004_Toy", "nnUNetTrainerV2")
    assert "no dataset.json" in opened.notes[0]
    found = read_summaries(opened, "x").cases.set_index(["case", "class"]).sort_index()
    expected = by_hand("x", 0.1).replace({"anterior": "1", "posterior": "2"})
    expected = expected.set_index(["case", "class"]).sort_index()
    for score in ("dice", "recall", "precision", "false_alarm"):
        np.testing.assert_allclose(found[score], expected[score], err_msg=score)


def test_regions(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    folder = write_v2(tmp_path, labels=((1, 2), (2,)), described=labels)
    made, summary = report_on(tmp_path, [folder])
    assert set(made.cases["class"]) == {"whole", "core"}
    assert summary["troubles"] == ONE_METHOD  # the Dice of the files is that of the summary


def test_a_summary_alone(tmp_path):
    folder = write_v2(tmp_path, predictions=False, folds=1)
    lonely = tmp_path / "somewhere.json"
    text = (folder / "fold_0" / "validation" / "summary.json").read_text()
    lonely.write_text(text.replace(str(tmp_path), "/another/machine"))
    made, _ = report_on(tmp_path, [{"path": lonely, "method": "theirs"}])
    assert set(made.cases["class"]) == {"1", "2"}
    assert set(made.cases["loss"]) == {"theirs"}
    assert made.cases["case"].nunique() == 6


def test_a_data_sets_folder_is_all_of_its_trainers(tmp_path):
    folder = write_v2(tmp_path, "nnUNetTrainer", predictions=False)
    write_v2(tmp_path, "nnUNetTrainerDiceLoss", 0.2, predictions=False)
    _, summary = report_on(tmp_path, [folder.parent])
    assert list(summary["methods"]) == ["nnUNetTrainer", "nnUNetTrainerDiceLoss"]


def test_repeats_are_seeds(tmp_path):
    folders = []
    for place, (trainer, wrong) in enumerate((("A", 0.1), ("A", 0.12), ("B", 0.2), ("B", 0.25))):
        path = write_v2(tmp_path / str(place), f"nnUNetTrainer{trainer}", wrong, predictions=False)
        folders.append({"path": path, "method": trainer})
    made, summary = report_on(tmp_path, folders)
    assert sorted(made.cases["seed"].unique()) == [0, 1]
    assert summary["verdicts"][0]["comparisons"][0]["seeds"] == 2
    with pytest.raises(DataError, match="say whether they are repeats"):
        report_on(tmp_path, [folder["path"] for folder in folders[:2]])


def test_seeds_in_the_names_of_trainers_are_seeds(tmp_path):
    """As the trainings of `compare --trainer nnunet` are named."""
    for trainer, wrong in (("nnUNetTrainer", 0.1), ("nnUNetTrainerAdaptiveDBCEDice", 0.2)):
        for seed in (0, 2):
            name = f"{trainer}_100epochs_50iterations_seed{seed}"
            path = write_v2(tmp_path, name, wrong + seed / 100, predictions=False)
    made, summary = report_on(tmp_path, [path.parent])
    ours, theirs = (
        f"nnUNetTrainer{own}_100epochs_50iterations" for own in ("AdaptiveDBCEDice", "")
    )
    assert set(made.cases["loss"]) == {ours, theirs}
    assert sorted(made.cases["seed"].unique()) == [0, 2]
    assert made.reference == theirs  # nnU-Net's own, though the other comes first
    [verdict] = summary["verdicts"]
    assert verdict["comparisons"][0]["seeds"] == 2
    assert f"Dataset004_Toy/{ours}: seed 0, 2, by the names of its trainers" in made.notes


def test_one_seed_in_each_name_tells_nothing_of_seeds(tmp_path):
    write_v2(tmp_path, "nnUNetTrainer_seed1", predictions=False)
    path = write_v2(tmp_path, "nnUNetTrainerDiceLoss_seed2", 0.2, predictions=False)
    made, _ = report_on(tmp_path, [path.parent])
    assert set(made.cases["loss"]) == {"nnUNetTrainer", "nnUNetTrainerDiceLoss"}
    assert set(made.cases["seed"]) == {0}
    assert not any("by the names" in note for note in made.notes)


def test_one_seed_in_each_data_set_tells_nothing_of_seeds(tmp_path):
    folders = []
    for dataset, seed in (("Dataset004_Toy", 0), ("Dataset005_Toy", 1)):
        for trainer, wrong in (("nnUNetTrainer", 0.1), ("nnUNetTrainerDiceLoss", 0.2)):
            path = write_v2(tmp_path / dataset, f"{trainer}_seed{seed}", wrong, predictions=False)
        folders.append(path.parent.rename(path.parent.with_name(dataset)))
    made, _ = report_on(tmp_path, folders)
    assert set(made.cases["seed"]) == {0}
    assert set(made.cases["dataset"]) == {"Dataset004_Toy", "Dataset005_Toy"}


def test_one_seed_that_is_there_twice(tmp_path):
    folders = []
    for place, seed in enumerate((0, 1, 1)):
        name = f"nnUNetTrainer_seed{seed}"
        folders.append(write_v2(tmp_path / str(place), name, place / 10, predictions=False))
    with pytest.raises(DataError, match="are all nnUNetTrainer, seed 1: say whether"):
        report_on(tmp_path, folders)
    # The user's names count more than those of the trainers.
    made, _ = report_on(tmp_path, [{"path": path, "method": "mine"} for path in folders])
    assert sorted(made.cases["seed"].unique()) == [0, 1, 2]


def test_plans_that_differ_keep_seeds_apart(tmp_path):
    for plans in ("otherPlans", "nnUNetPlans"):  # the second as written
        for seed in (0, 1):
            path = write_v2(tmp_path, f"nnUNetTrainer_seed{seed}", seed / 10, predictions=False)
            _, *others = path.name.split("__")
            path.rename(path.parent / f"nnUNetTrainer_seed{seed}__{plans}__{others[-1]}")
    made, _ = report_on(tmp_path, [path.parent])
    assert set(made.cases["loss"]) == {
        f"nnUNetTrainer__{plans}__{others[-1]}" for plans in ("nnUNetPlans", "otherPlans")
    }
    assert sorted(made.cases["seed"].unique()) == [0, 1]


def test_what_is_missing_is_said(tmp_path):
    folder = write_v2(tmp_path, predictions=False, folds=3)
    other = write_v2(tmp_path, "nnUNetTrainerOther", 0.2, predictions=False, folds=3)
    shutil.rmtree(folder / "fold_1" / "validation")
    (folder / "fold_all").mkdir()
    _, summary = report_on(tmp_path, [folder, other])
    troubles = " ".join(summary["troubles"])
    assert "fold 1 has no validation/summary.json: its training is not finished" in troubles
    assert "fold_all is left out" in troubles
    assert "nnUNetTrainer lacks fold 1" in troubles


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no summary of nnU-Net"),
        ('{"metrics": 1}', "expected metric_per_case .* got metrics"),
        ('{"metric_per_case": []}', "lists no case"),
        ('{"metric_per_case": [{"metrics": {}}]}', "KeyError: 'prediction_file'"),
        (
            '{"metric_per_case": [{"prediction_file": "a.nii.gz", "reference_file": "a.nii.gz",'
            ' "metrics": {"1": {"IoU": 0.5}}}]}',
            "a, class 1: lacks 'Dice'",
        ),
        (
            '{"metric_per_case": [{"prediction_file": "a.nii.gz", "reference_file": "a.nii.gz",'
            ' "metrics": {"liver": {"Dice": 0.5}}}]}',
            "'liver' is no label",
        ),
    ],
)
def test_files_that_are_no_summaries(tmp_path, content, said):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(DataError, match=said):
        report_on(tmp_path, [tmp_path / "summary.json"])


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is no results folder of nnU-Net"):
        report_on(tmp_path, [tmp_path / "empty"])


def test_a_summary_that_was_moved_tells_where_it_was_written(tmp_path):
    truth, found = masks()
    there = "C:\\nnUNet_results\\Dataset081_Kits\\nnUNetTrainer_100epochs__Plans__3d_lowres\\fold_3"
    regions = ((1, 2), (2,))
    summary = v2_summary(truth, found, "C:\\gt", f"{there}\\validation", regions)
    (tmp_path / "fold_0" / "fold_0").mkdir(parents=True)  # as one public repository has it
    path = tmp_path / "fold_0" / "fold_0" / "summary.json"
    path.write_text(json.dumps(summary).replace("/case", "\\\\case"))
    opened = open_results(path)
    assert (opened.dataset, opened.trainer) == ("Dataset081_Kits", "nnUNetTrainer_100epochs")
    assert {entry.fold for entry in opened.entries} == {3}
    assert [entry.case for entry in opened.entries] == sorted(truth)
    assert sorted(opened.labels.values()) == ["1+2", "2"]
