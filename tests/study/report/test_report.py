import base64
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toy import make_dataset

from dilated_ce.study.data.cases import Case
from dilated_ce.study.report import gallery
from dilated_ce.study.report.page import write_comparison
from dilated_ce.study.report.plots import forest
from dilated_ce.study.report.tables import recall_by_size, show
from dilated_ce.study.runs.store import Failure, Run
from dilated_ce.study.scores.table import CASE_COLUMNS, LESION_COLUMNS, SCORES
from dilated_ce.study.statistics.comparison import FAMILY, compare_family, compare_to
from dilated_ce.study.statistics.side_by_side import side_by_side
from dilated_ce.study.training.loss_spec import parse_loss

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def write_run(tmp_path):
    """A run folder with made-up scores, as `execute` leaves it."""

    def write(data, text, seed=0, fold=0, dice=0.6, loss_values=(1.0, 0.5, 0.4), found=1):
        loss = parse_loss(text)
        folder = tmp_path / "runs" / f"{loss.slug}-{seed}-{fold}"
        folder.mkdir(parents=True)
        random = np.random.default_rng([seed, len(text)])
        rows, lesions, predictions = [], [], {}
        for name in data.folds[fold].test:
            case = data.by_name[name].load()
            predictions[name] = np.where(random.random(case.labels.shape) < 0.9, case.labels, 1)
            for place, class_name in enumerate(data.classes[1:]):
                scores = dict.fromkeys(SCORES, dice + 0.1 * place + 0.05 * random.random())
                who = {"loss": text, "seed": seed, "fold": fold, "case": name, "class": class_name}
                counts = {"group": name, "true_voxels": 9, "predicted_voxels": 9}
                rows.append({**who, **scores, **counts, **loss.settings})
                size = {"lesion": 1, "volume": 5.0 + len(lesions), "covered": 0.5, "found": found}
                lesions.append({**who, **size})
        pd.DataFrame(rows).reindex(columns=CASE_COLUMNS).to_csv(folder / "cases.csv", index=False)
        table = pd.DataFrame(lesions).reindex(columns=LESION_COLUMNS)
        table.to_csv(folder / "lesions.csv", index=False)
        steps = range(1, len(loss_values) + 1)
        pd.DataFrame({"step": steps, "loss": loss_values}).to_csv(
            folder / "losses.csv", index=False
        )
        pd.DataFrame({"step": [3], "dice": [0.5]}).to_csv(folder / "curve.csv", index=False)
        arrays = {f"prediction{i}": p.astype(np.uint8) for i, p in enumerate(predictions.values())}
        np.savez(folder / "predictions.npz", names=np.array(list(predictions)), **arrays)
        info = {"loss": text, "seconds": 3, "ms_per_step": 2.5, "peak_memory": 2**30}
        (folder / "run.json").write_text(json.dumps(info))
        return Run(loss, seed, fold, folder)

    return write


def report(tmp_path, data, runs, failures=(), reference="ce", trials=()):
    path = write_comparison(
        tmp_path / "out",
        dataset=data,
        load_case=lambda name: data.by_name[name].load(),
        runs=runs,
        failures=failures,
        reference=reference,
        margin=0.015,
        resamples=300,
        settings={"network": "a small one"},
        versions={"torch": "2"},
        trials=trials,
    )
    return path.read_text(), json.loads((tmp_path / "out" / "summary.json").read_text())


def text_of(page):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


LOSSES = ("ce", "balanced-ce", "dbce:radius=2", "dbce:radius=8", "dice-ce")


@pytest.mark.parametrize("dims", [2, 3])
def test_numbers_are_those_of_the_runs(tmp_path, write_run, dims):
    data = make_dataset(dims)
    runs = [
        write_run(data, loss, seed, dice=0.5 + 0.05 * place)
        for seed in range(3)
        for place, loss in enumerate(LOSSES)
    ]
    page, summary = report(tmp_path, data, runs)
    cases = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert list(cases) == CASE_COLUMNS
    assert len(cases) == 3 * 5 * 3 * 2
    for loss in LOSSES:
        of_loss = cases[cases["loss"] == loss]
        assert summary["losses"][loss]["dice"]["mean"] == pytest.approx(of_loss["dice"].mean())
        assert f"{100 * of_loss['dice'].mean():.1f} ±" in page
    expected = compare_family(side_by_side(cases), "ce")
    found = [c for verdict in summary["verdicts"] for c in verdict["comparisons"]]
    assert [c["low"] for c in found] == pytest.approx([c.low for c in expected])
    assert summary["ranks"][0]["loss"] == "ce"
    text = text_of(page)
    assert "Dice + CE beside CE: 3 test cases can't carry a verdict" in text
    assert "points (95 % interval" in text
    assert "much another training set would change is in no interval" in text
    assert "15 runs" in text
    assert page.count("data:image/png") == 3 * 7
    assert ("slice" in text) == (dims == 3)
    assert "http" not in re.sub(r"https?://www.w3.org|data:[^\"]+", "", page)
    assert len(page) < 3e6


def test_other_scores_and_classes_are_exploration_without_colours(tmp_path, write_run):
    data = make_dataset()
    runs = [
        write_run(data, loss, seed, dice=dice)
        for seed in range(3)
        for loss, dice in (("ce", 0.5), ("dice", 0.7))
    ]
    page, summary = report(tmp_path, data, runs)
    cases = pd.read_csv(tmp_path / "out" / "cases.csv")
    by_key = {(row["metric"], row["class_name"]): row for row in summary["exploration"]}
    assert set(by_key) == {(score, None) for score in SCORES if score not in FAMILY} | {
        ("dice", name) for name in data.classes[1:]
    }
    [expected] = compare_to(side_by_side(cases), "ce", metric="assd")
    assert by_key["assd", None]["low"] == pytest.approx(expected.low)
    assert expected.comparisons == 1
    explored = page.partition("<h2>Exploration</h2>")[2]
    assert "Differences to" in explored
    assert not re.search(r'class="(good|bad|mixed)"', explored)


def test_a_loss_without_a_common_run_is_named_and_the_others_compared(tmp_path, write_run):
    data = make_dataset()
    runs = [write_run(data, "ce"), write_run(data, "dice"), write_run(data, "tversky", seed=1)]
    page, summary = report(tmp_path, data, runs)
    assert [row["loss"] for row in summary["verdicts"]] == ["dice"]
    assert "No run lets compare Tversky" in text_of(page)


def test_learning_rates_that_were_tried_are_shown(tmp_path, write_run):
    data = make_dataset()
    trial = write_run(data, "ce", seed=7, dice=0.6)
    trial.info["learning_rate"] = 0.003
    page, _ = report(tmp_path, data, [write_run(data, "ce")], trials=[trial])
    dice = 100 * trial.cases.groupby("case")["dice"].mean().mean()
    assert f"CE: 0.003 ({dice:.1f})" in text_of(page)


def test_names_from_outside_are_no_markup(tmp_path, write_run):
    data = make_dataset(name=EVIL, classes=("background", EVIL, "core"))
    page, _ = report(
        tmp_path,
        data,
        [write_run(data, "ce")],
        [Failure(parse_loss("dice"), 0, 0, EVIL, EVIL)],
    )
    assert EVIL not in page
    assert "&lt;img src=x" in page


def test_what_went_wrong_is_said_and_counted(tmp_path, write_run):
    data = make_dataset()
    runs = [
        write_run(data, "ce"),
        write_run(data, "dice", loss_values=(1.0, np.nan, np.inf)),
        write_run(data, "tversky", dice=-0.1),
    ]
    runs[2].cases["recall"] = 0.0
    failures = [Failure(parse_loss("top-k"), 0, 0, "out of GPU memory", "a long trace")]
    page, summary = report(tmp_path, data, runs, failures)
    text = text_of(page)
    assert "3 warnings" in text
    assert "Dice, seed 0, fold 0: diverged" in text
    assert "Tversky, seed 0, fold 0: collapsed" in text
    assert "Top-k CE, seed 0, fold 0: failed and has no scores: out of GPU memory" in text
    assert "a long trace" in text
    assert summary["diverged"] == [{"loss": "dice", "seed": 0, "fold": 0}]
    assert summary["failed"][0]["error"] == "out of GPU memory"
    assert "dice" in summary["losses"]
    assert "One seed says nothing about other initial weights" in text


def test_without_the_reference_nothing_is_compared(tmp_path, write_run):
    data = make_dataset()
    failures = [Failure(parse_loss("ce"), 0, 0, "broken", "")]
    page, summary = report(tmp_path, data, [write_run(data, "dice")], failures)
    assert "Nothing can be compared with CE" in text_of(page)
    assert summary["verdicts"] == []


def test_a_class_without_scores(tmp_path, write_run):
    data = make_dataset()
    runs = [write_run(data, loss) for loss in ("ce", "dice")]
    for run in runs:
        run.cases.loc[run.cases["class"] == "core", list(SCORES)] = np.nan
    _, summary = report(tmp_path, data, runs)
    assert summary["losses"]["ce"]["dice"]["mean"] == pytest.approx(
        runs[0].cases["dice"].dropna().mean()
    )


def test_means_are_of_the_runs_that_all_losses_have(tmp_path, write_run):
    """A loss whose hard fold failed had the better mean for it."""
    data = make_dataset()
    (split,) = data.folds
    data = make_dataset(folds=(split, type(split)(split.test, (), split.train)))
    runs = [write_run(data, loss, 0, 0, dice=0.8) for loss in ("ce", "dice")]
    runs.append(write_run(data, "ce", 0, 1, dice=0.3))  # a hard fold, where the other failed
    failures = [Failure(parse_loss("dice"), 0, 1, "out of memory", "")]
    page, summary = report(tmp_path, data, runs, failures)
    means = {loss: row["dice"]["mean"] for loss, row in summary["losses"].items()}
    [verdict] = summary["verdicts"]
    paired = verdict["comparisons"][0]["difference"]
    assert means["dice"] - means["ce"] == pytest.approx(paired, abs=1e-9)
    text = text_of(page)
    assert "Means and ranks leave out the runs that not all losses have" in text
    assert "Dice lacks seed 0, fold 1" in text
    lonely = [run for run in runs if (str(run.loss), run.fold) in (("ce", 1), ("dice", 0))]
    page, _ = report(tmp_path, data, lonely, reference="dice")
    assert "No run is shared by all losses" in text_of(page)


def test_folds_are_brought_together(tmp_path, write_run):
    data = make_dataset()
    (split,) = data.folds
    other = type(split)(split.test, (), split.train)
    data = make_dataset(folds=(split, other))
    runs = [write_run(data, loss, 0, fold) for fold in (0, 1) for loss in ("ce", "dice")]
    page, summary = report(tmp_path, data, runs)
    assert "2 folds" in text_of(page)
    assert summary["verdicts"][0]["comparisons"][0]["folds"] == 2
    assert summary["verdicts"][0]["comparisons"][0]["cases"] == 7


def test_a_single_test_case_has_no_interval(tmp_path, write_run):
    data = make_dataset()
    runs = [write_run(data, loss) for loss in ("ce", "dice")]
    for run in runs:
        run.__dict__["cases"] = run.cases[run.cases["case"] == run.cases["case"].iloc[0]]
    page, _ = report(tmp_path, data, runs)
    assert "<td>-</td><td>-</td><td>" in page
    assert not re.search(r"\bnan\b", page)


def test_one_loss_is_one_in_every_title(tmp_path, write_run):
    data = make_dataset()
    page, _ = report(tmp_path, data, [write_run(data, "ce")])
    for tag in ("title", "h1"):
        assert re.search(f"<{tag}>[^<]*: one loss compared</{tag}>", page)


def seeds_apart(*differences):
    random = np.random.default_rng(0)
    rows = []
    for seed, difference in enumerate(differences):
        for case in map(str, range(30)):
            for loss, dice in (("a", 0.5), ("b", 0.5 + difference + 0.02 * random.normal())):
                rows.append((loss, seed, 0, case, case, "x", dice))
    return pd.DataFrame(rows, columns=["loss", "seed", "fold", "case", "group", "class", "dice"])


def test_the_radius_is_chosen_on_the_validation_part(tmp_path, write_run):
    data = make_dataset()
    runs = [
        write_run(data, f"dbce:radius={radius}", seed) for seed in range(2) for radius in (8, 2, 4)
    ]
    for run, dice in zip(runs, (0.5, 0.6, 0.55, 0.5, 0.58, 0.54), strict=True):
        run.curve["dice"] = dice
    runs.append(write_run(data, "dice-ce"))
    page, summary = report(tmp_path, data, runs, reference="dice-ce")
    assert "DBCE (R = 2) has the best Dice on the validation part, 59.0" in summary["sentences"][-1]
    assert "DBCE (R = 4) is next, 4.5 behind" in summary["sentences"][-1]
    assert '<td class="best">59.0</td>' in page


def test_the_adaptive_loss_and_other_volumes_are_candidates_too(tmp_path, write_run):
    data = make_dataset()
    losses = ("dbce:radius=8", "dbce:radius=8,volumes=image", "adaptive-dbce", "dice-ce")
    runs = [write_run(data, str(parse_loss(loss))) for loss in losses]
    for run, dice in zip(runs, (0.5, 0.6, 0.55, 0.7), strict=True):
        run.curve["dice"] = dice
    _, summary = report(tmp_path, data, runs, reference="dice-ce")
    assert "Which radius: DBCE (R = 8, volumes = image) has" in summary["sentences"][-1]
    assert "Adaptive DBCE is next" in summary["sentences"][-1]


def test_without_validation_no_radius_is_chosen(tmp_path, write_run):
    data = make_dataset()
    runs = [write_run(data, f"dbce:radius={radius}") for radius in (2, 4)]
    for run in runs:
        run.__dict__["curve"] = pd.DataFrame({"step": [], "dice": []})
    page, _ = report(tmp_path, data, runs, reference="dbce:radius=2")
    assert "Which radius" not in page


@pytest.mark.parametrize("axis", [0, 2])
def test_slices_of_stacks_and_volumes_stand_upright(axis):
    plane = np.zeros((6, 8), np.uint8)
    plane[1, 6] = 1  # to the left, as x is small, and at the top, as y is large
    labels = np.expand_dims(plane, axis)
    case = Case("a", labels[None].astype(np.float32), labels, (1.0,) * 3)
    place = gallery.best_slice(case, {}, 2 if axis == 0 else 3, 2)
    assert place == (axis, 0)
    for source in (
        gallery.photograph(case, place),
        gallery.overlay(case, labels, place, 2),
    ):
        shown = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("L")
        bright = np.argwhere(np.asarray(shown) > 200)
        assert shown.size == (6, 8)
        assert bright.tolist() == [[1, 1]]


def test_lesions_by_size():
    volumes = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    table = pd.DataFrame(
        [
            {"loss": loss, "class": "x", "case": "c", "lesion": n, "volume": v, "found": found(n)}
            for loss, found in (("a", lambda n: n > 1), ("b", lambda n: 1))
            for n, v in enumerate(volumes)
        ]
    )
    by_size = recall_by_size(table)
    assert by_size["lesions"].tolist() == [2, 2, 2]
    assert by_size["a"].tolist() == [0, 1, 1]
    assert by_size["b"].tolist() == [1, 1, 1]
    assert by_size[["low", "high"]].to_numpy().tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_single_patient_has_no_interval_in_the_plot():
    one = seeds_apart(0.1, 0.2)
    [result] = compare_to(side_by_side(one[one["case"] == "3"]), "a")
    [clear] = compare_to(side_by_side(seeds_apart(0.1, 0.2)), "a")

    def lines(comparison):
        uri = forest([comparison], {"a": "A", "b": "B"}, 0.015)
        svg = base64.b64decode(uri.partition(",")[2]).decode()
        return len(re.findall(r'd="M [^"]*"[^>]*stroke: #0072b2', svg))

    assert lines(result) < lines(clear)


def test_scores_as_text():
    assert show("dice", 0.5) == "50.0"
    assert show("hd95", 12.345, 0.5) == "12.35 ± 0.50"
    assert show("recall", float("nan")) == "-"


@pytest.mark.skipif(not shutil.which("chromium"), reason="no browser")
@pytest.mark.parametrize("width", [500, 700, 1300])
def test_in_a_browser_nothing_sticks_out(tmp_path, write_run, width):
    data = make_dataset(name="a_very_long_name_of_a_data_set_without_any_space_in_it_" * 2)
    runs = [write_run(data, loss, seed) for seed in range(2) for loss in LOSSES]
    page, _ = report(tmp_path, data, runs)
    probe = (
        "<script>addEventListener('load', () => { document.querySelector('.case img').click();"
        "const cells = [...document.querySelectorAll('table.first td, table.first th')];"
        "document.title = [document.documentElement.scrollWidth <= innerWidth,"
        "cells.length > 20 && cells.every((cell) => cell.scrollWidth <= cell.clientWidth + 1 &&"
        "cell.getBoundingClientRect().right <= innerWidth),"
        "document.querySelector('dialog').open, [...document.images].every((image) => "
        "!image.getAttribute('src') || image.naturalWidth > 0)].join() })</script></body>"
    )
    path = tmp_path / "probe.html"
    path.write_text(page.replace("</body>", probe))
    done = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", f"--window-size={width},900"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.search(r"<title>(.*?)</title>", done.stdout)[1] == "true,true,true,true"
