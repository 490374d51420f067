"""The candidates for the adaptive rule, against SciPy and against the demands on it."""

import dataclasses
from pathlib import Path

import continuity
import numpy as np
import pandas as pd
import pytest
import torch
from candidates import CANDIDATES, Rule, rungs, squared_distance, top
from scipy.ndimage import distance_transform_edt, gaussian_filter

from dilated_ce import adaptive_dilated_weights

CHOSEN = "p12_cap8_mix"
ROOT = Path(__file__).resolve().parents[1]


def blobs(shape, classes, seed=0):
    noise = gaussian_filter(
        np.random.default_rng(seed).normal(size=shape), [0, *[3] * (len(shape) - 1)]
    )
    cuts = np.quantile(noise, np.linspace(0.7, 1, classes)[:-1])
    return torch.from_numpy(np.digitize(noise, cuts))


@pytest.mark.parametrize("shape", [(2, 30, 41), (2, 12, 21, 17)])
@pytest.mark.parametrize("cap", [8, 16])
def test_a_ball_holds_what_lies_within_the_radius(shape, cap):
    masks = torch.from_numpy(np.random.default_rng(0).random((2, *shape)) > 0.99)
    distance = squared_distance(masks, cap).numpy()
    for mask, ours in zip(
        masks.numpy().reshape(-1, *shape[1:]), distance.reshape(-1, *shape[1:]), strict=True
    ):
        exact = distance_transform_edt(~mask) ** 2 if mask.any() else np.full(mask.shape, np.inf)
        for rung in range(2, top(cap) + 1):
            np.testing.assert_array_equal(ours <= 2**rung, exact <= 2**rung + 1e-6)


@pytest.mark.parametrize("shape", [(2, 40, 50), (2, 16, 20, 18)])
def test_weights_are_the_formula(shape):
    labels, rule = blobs(shape, 3), Rule(cap=8)
    expected = []
    for image in labels.numpy():
        weights = np.zeros(image.shape)
        for c in np.unique(image):
            mask, d = image == c, image.ndim
            faces = sum(np.count_nonzero(np.diff(mask, axis=a)) for a in range(d))
            radius = min(max(d * mask.sum() / faces, 2), 8)
            inside = distance_transform_edt(~mask) ** 2 <= 2 ** round(2 * np.log2(radius)) + 1e-6
            weights = np.maximum(weights, inside * (image.size / inside.sum()) ** (1 / d))
        expected.append(weights)
    expected = np.stack(expected) / np.mean(expected)
    np.testing.assert_allclose(rule.weigh(labels, 3).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("name", CANDIDATES)
def test_no_class_is_special(name):
    labels, rule = blobs((3, 32, 32), 4), CANDIDATES[name]
    weights, order = rule.weigh(labels, 4), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(rule.weigh(order[labels], 4), weights)
    torch.testing.assert_close(rule.weigh(labels.flip(1), 4).flip(1), weights)
    torch.testing.assert_close(rule.weigh(labels.rot90(1, (1, 2)), 4).rot90(-1, (1, 2)), weights)
    assert weights.mean().item() == pytest.approx(1)


@pytest.mark.parametrize("name", CANDIDATES)
def test_an_image_of_one_class_weighs_1_everywhere(name):
    weights = CANDIDATES[name].weigh(torch.zeros(2, 24, 24, dtype=torch.long), 2)
    torch.testing.assert_close(weights, torch.ones_like(weights))


def test_the_radius_is_a_length_of_the_shape_up_to_the_cap():
    masks = torch.zeros(1, 3, 64, 64, dtype=torch.bool)
    masks[0, 0, 10:14] = True  # a band: its width
    masks[0, 1, 8:24, 8:24] = True  # a square: half of its side
    masks[0, 2] = True  # no border at all: the cap
    assert rungs(masks, 16).tolist() == [[4, 6, 8]]


@pytest.mark.parametrize("dims", [2, 3])
def test_sizes_counted_at_once_are_those_of_the_weights(dims):
    for name in ("p12_cap8", "p12_cap8_mix", "all_cap16", "slope_cap16"):
        rule = dataclasses.replace(CANDIDATES[name], cap=8)
        for _, order in continuity.shapes(dims):
            centre, corner = continuity.centre_and_corner(rule, order)
            for size in (64, order.size // 3, order.size - 64):
                weights = rule.weigh(torch.from_numpy(order < size).long()[None], 2)[0]
                first, last = (
                    weights.flatten()[n].item() for n in (order.argmin(), order.argmax())
                )
                at = size - continuity.FEW
                assert centre[at] / corner[at] == pytest.approx(first / last, rel=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_chosen_rule_does_not_jump(dims):
    for shape, order in continuity.shapes(dims):
        centre, corner = continuity.centre_and_corner(CANDIDATES[CHOSEN], order)
        assert continuity.largest_step(centre / corner) <= 1.25, shape
        assert continuity.largest_turn(centre / corner) <= 1.25, shape


@pytest.mark.parametrize(
    ("shape", "classes"), [((3, 40, 51), 2), ((2, 33, 20), 4), ((2, 12, 17, 14), 3)]
)
def test_the_package_has_the_chosen_rule(shape, classes):
    labels = torch.randint(0, classes, shape, generator=torch.manual_seed(0))
    labels[:, : shape[1] // 2] = 0
    ours = adaptive_dilated_weights(labels, num_classes=classes)
    torch.testing.assert_close(ours, CANDIDATES[CHOSEN].weigh(labels, classes))


def test_the_method_page_quotes_the_search():
    table = pd.read_csv(ROOT / "results" / "rules" / "final_validation_summary.csv")
    found = table.set_index(["set", "arm", "score"])
    page = " ".join((ROOT / "docs" / "method.md").read_text(encoding="utf-8").split())
    without, with_half = (found.loc["busi", f"dice_{arm}", "dice"] for arm in ("p12_cap8", CHOSEN))
    assert (
        f"lost {-without['difference']:.1f} points of Dice to Dice + CE on BUSI, over "
        f"six seeds; with it {-with_half['difference']:.1f}, within the noise"
    ) in page
    assert without["seeds"] == with_half["seeds"] == 6
    assert with_half["low"] < 0 < with_half["high"]
