import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_hausdorff_distance,
    compute_surface_dice,
    get_confusion_matrix,
)
from scipy import ndimage
from scipy.spatial.distance import cdist
from torchmetrics.classification import BinaryCalibrationError

from dilated_ce.study.scores.calibration import calibration_errors, classwise_ece
from dilated_ce.study.scores.lesions import lesion_scores, lesion_table
from dilated_ce.study.scores.score import score_case
from dilated_ce.study.scores.table import LOWER_IS_BETTER, SCORES

masks = arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 2), elements=st.integers(0, 2))
images = arrays(np.uint8, st.tuples(*[st.integers(2, 9)] * 2), elements=st.integers(0, 2))
volumes = arrays(np.uint8, st.tuples(*[st.integers(2, 5)] * 3), elements=st.integers(0, 2))


def score(prediction, labels, spacing=None, tolerance=1.0, probabilities=None, **options):
    spacing = spacing or (1.0,) * labels.ndim
    if probabilities is not None:
        ignored = options.get("ignore_index")
        options["ece"] = calibration_errors(probabilities, labels, 3, ignore_index=ignored)
    return score_case(prediction, labels, 3, spacing=spacing, tolerance=tolerance, **options)


def surface(mask, spacing):
    """Places of the voxels that an erosion removes; beyond the image is outside."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.array(spacing)


@given(labels=masks | volumes, seed=st.integers(0, 99), z=st.sampled_from([0.7, 1.0, 2.5]))
def test_against_plain_formulas(labels, seed, z):
    random = np.random.default_rng(seed)
    prediction = np.where(random.random(labels.shape) < 0.3, random.integers(0, 3), labels)
    prediction = prediction.astype(np.uint8)
    spacing = (1.0,) * (labels.ndim - 1) + (z,)
    for index, scores in enumerate(score(prediction, labels, spacing), start=1):
        found, true = prediction == index, labels == index
        both = (found & true).sum()
        assert (scores["true_voxels"], scores["predicted_voxels"]) == (true.sum(), found.sum())
        assert math.isnan(scores["recall"]) == (not true.any())
        if not true.any() and not found.any():
            assert scores["dice"] == scores["precision"] == scores["nsd"] == 1
            assert scores["hd95"] == scores["false_alarm"] == scores["false_volume"] == 0
            continue
        assert scores["dice"] == pytest.approx(2 * both / (found.sum() + true.sum()))
        assert scores["precision"] == pytest.approx(both / max(1, found.sum()))
        if not true.any():
            assert scores["false_alarm"] == 1
            assert scores["false_volume"] == pytest.approx(found.sum() * z)
        if true.any() and found.any():
            assert scores["recall"] == pytest.approx(both / true.sum())
            distances = cdist(surface(found, spacing), surface(true, spacing))
            one, other = distances.min(1), distances.min(0)
            expected = max(np.percentile(one, 95), np.percentile(other, 95))
            assert scores["hd95"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
            mean = (one.sum() + other.sum()) / (len(one) + len(other))
            assert scores["assd"] == pytest.approx(mean, rel=1e-4, abs=1e-5)
            near = ((one <= 1).sum() + (other <= 1).sum()) / (len(one) + len(other))
            assert scores["nsd"] == pytest.approx(near, rel=1e-4)
        else:
            diagonal = math.hypot(*np.multiply(labels.shape, spacing))
            assert scores["hd95"] == scores["assd"] == pytest.approx(diagonal)
            assert scores["dice"] == scores["nsd"] == scores["lesion_f1"] == 0


@given(image=images, seed=st.integers(0, 99), axis=st.integers(0, 2))
def test_a_volume_of_one_slice_is_scored_as_the_image_that_it_is(image, seed, axis):
    random = np.random.default_rng(seed)
    prediction = np.where(random.random(image.shape) < 0.3, random.integers(0, 3), image)
    prediction = prediction.astype(np.uint8)
    image = np.where(random.random(image.shape) < 0.1, 255, image).astype(np.uint8)
    probabilities = random.random((3, *image.shape))
    spacing = [0.8, 1.3]
    flat = score(prediction, image, tuple(spacing), ignore_index=255, probabilities=probabilities)
    spacing.insert(axis, 5.0)
    for scores in flat:
        scores["false_volume"] *= 5  # an area becomes a volume
    thin = score(
        np.expand_dims(prediction, axis),
        np.expand_dims(image, axis),
        tuple(spacing),
        ignore_index=255,
        probabilities=np.expand_dims(probabilities, axis + 1),
    )
    for one, other in zip(thin, flat, strict=True):
        assert one == pytest.approx(other, nan_ok=True)


@pytest.mark.parametrize("at", [(0, 0, 0), (6, 5, 4), (13, 10, 7)])
def test_the_cut_to_the_objects_changes_nothing(at):
    labels, prediction = np.zeros((2, 20, 16, 12), np.uint8)
    x, y, z = at
    labels[x : x + 6, y : y + 5, z : z + 4] = 1
    prediction[x : x + 5, y + 1 : y + 6, z : z + 5] = 1
    ours = score(prediction, labels, (1.0, 0.5, 2.0))[0]
    whole = [torch.from_numpy(part[None, None] == 1) for part in (prediction, labels)]
    options = {"include_background": True, "spacing": [1.0, 0.5, 2.0]}
    hd95 = compute_hausdorff_distance(*whole, percentile=95, **options)
    assert ours["hd95"] == pytest.approx(float(hd95))
    nsd = compute_surface_dice(*whole, class_thresholds=[1.0], **options)
    assert ours["nsd"] == pytest.approx(float(nsd))


def test_empty_masks_by_the_declared_rule():
    nothing = np.zeros((6, 8), np.uint8)
    for scores in score(nothing, nothing):
        for name in set(SCORES) - {"ece", "recall", "lesion_recall"}:
            assert scores[name] == (0 if name in LOWER_IS_BETTER else 1)
    object_ = nothing.copy()
    object_[2, 2] = 1
    for prediction, labels in ((nothing, object_), (object_, nothing)):
        scores = score(prediction, labels)[0]
        assert scores["dice"] == scores["precision"] == scores["nsd"] == scores["lesion_f1"] == 0
        assert scores["hd95"] == 10
    skipped = score(object_, nothing, empty="skip")[0]
    assert (skipped["false_alarm"], skipped["false_volume"]) == (1, 1)
    assert all(math.isnan(skipped[name]) for name in SCORES if not name.startswith("false"))


@given(
    labels=masks | volumes,
    seed=st.integers(0, 99),
    empty=st.sampled_from(["score", "skip"]),
    ignored=st.booleans(),
)
def test_whether_a_score_is_missing_depends_on_the_truth_alone(labels, seed, empty, ignored):
    """Else a loss could lose a case from its mean, or from a pair, by what it predicts there."""
    random = np.random.default_rng(seed)
    if ignored:
        labels = np.where(random.random(labels.shape) < 0.3, 255, labels).astype(np.uint8)
    options = {"empty": empty, "ignore_index": 255}
    broken = np.full((3, *labels.shape), np.nan)
    predictions = [
        (np.zeros_like(labels), random.random(broken.shape)),
        (np.where(labels == 255, 0, labels), random.random(broken.shape)),
        (random.integers(0, 3, labels.shape).astype(np.uint8), broken),
    ]
    missing = [
        [
            {name for name in SCORES if math.isnan(of_class[name])}
            for of_class in score(prediction, labels, probabilities=probabilities, **options)
        ]
        for prediction, probabilities in predictions
    ]
    assert missing[0] == missing[1] == missing[2]


@given(labels=masks | volumes, seed=st.integers(0, 99))
def test_overlaps_are_those_of_monai(labels, seed):
    random = np.random.default_rng(seed)
    prediction = random.integers(0, 3, labels.shape).astype(np.uint8)
    one_hot = [
        torch.from_numpy(np.stack([m == c for c in range(3)])[None]).float()
        for m in (prediction, labels)
    ]
    confusion = get_confusion_matrix(*one_hot)[0].double()
    ours = score(prediction, labels)
    for name, formula in (
        ("dice", "f1 score"),
        ("recall", "sensitivity"),
        ("precision", "precision"),
    ):
        expected = compute_confusion_matrix_metric(formula, confusion)[1:].tolist()
        for one, value in zip(ours, expected, strict=True):
            if one["true_voxels"] and one["predicted_voxels"]:
                assert one[name] == pytest.approx(value)


def test_the_order_of_classes_and_flips_change_nothing():
    random = np.random.default_rng(0)
    labels, prediction = random.integers(0, 3, (2, 7, 8)).astype(np.uint8)
    swap = np.array([0, 2, 1], np.uint8)
    expected = score(prediction, labels)
    assert score(swap[prediction], swap[labels]) == expected[::-1]
    flipped = score(prediction[::-1], labels[::-1])
    for one, other in zip(flipped, expected, strict=True):
        assert one == pytest.approx(other, nan_ok=True)


def test_ignored_voxels_count_for_nothing():
    random = np.random.default_rng(0)
    labels, prediction, other = random.integers(0, 3, (3, 7, 8)).astype(np.uint8)
    labels[:3] = 255
    other[3:] = prediction[3:]
    probabilities = random.random((2, 3, 7, 8))
    probabilities[1, :, 3:] = probabilities[0, :, 3:]
    first, second = (
        score(part, labels, ignore_index=255, probabilities=p)
        for part, p in zip((prediction, other), probabilities, strict=True)
    )
    assert first == second


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 9, 9), (4, 4)])
def test_small_and_full_images(shape):
    full = np.ones(shape, np.uint8)
    scores = score(full, full)[0]
    assert scores["dice"] == scores["nsd"] == scores["lesion_f1"] == 1
    assert scores["hd95"] == scores["assd"] == 0


def test_lesions_are_found_by_a_tenth():
    true = np.zeros((3, 40), bool)
    true[1, :20] = True  # a lesion of 20 voxels
    true[1, 30] = True  # and one of a single voxel
    found = np.zeros_like(true)
    found[1, 0] = True  # a twentieth
    assert lesion_scores(found, true)["lesion_recall"] == 0
    found[1, 1] = True
    scores = lesion_scores(found, true)
    assert scores["lesion_recall"] == 0.5
    assert scores["lesion_precision"] == 1
    found[1, 35] = True
    assert lesion_scores(found, true)["lesion_precision"] == 0.5
    assert lesion_scores(found, true)["lesion_f1"] == 0.5


def test_corners_join_lesions():
    assert (
        len(lesion_table(np.eye(4, dtype=np.uint8), np.eye(4, dtype=np.uint8), "ab", (1, 1))) == 1
    )


def test_the_table_of_lesions():
    labels = np.array([[1, 1, 0, 2, 0, 1, 1, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 0, 0, 0, 0, 0]], np.uint8)
    rows = lesion_table(prediction, labels, ("bg", "rim", "core"), (2.0, 0.5))
    assert [tuple(row.values()) for row in rows] == [
        ("rim", 1, 2.0, 0.5, 1),
        ("rim", 2, 3.0, 0.0, 0),
        ("core", 1, 1.0, 0.0, 0),
    ]


@given(seed=st.integers(0, 999), size=st.integers(1, 200))
def test_calibration_against_torchmetrics(seed, size):
    random = np.random.default_rng(seed)
    probabilities = random.random(size).astype(np.float32)
    labels = (random.random(size) < probabilities**2).astype(np.uint8)
    # torchmetrics asks how sure the prediction is of itself; of one class it is the same measure.
    expected = BinaryCalibrationError(n_bins=15, norm="l1")(
        torch.from_numpy(probabilities), torch.from_numpy(labels).long()
    )
    assert classwise_ece(probabilities, labels, 1) == pytest.approx(float(expected), abs=1e-5)


def test_calibration_of_nothing_and_of_no_numbers():
    assert math.isnan(classwise_ece(np.zeros(3), np.full(3, 255, np.uint8), 1, ignore_index=255))
    assert classwise_ece(np.full(3, np.nan), np.zeros(3, np.uint8), 1) == 1  # and not left out
    assert classwise_ece(np.ones(4), np.ones(4, np.uint8), 1) == 0
