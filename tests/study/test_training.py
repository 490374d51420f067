import numpy as np
import pytest
import torch
from conftest import TINY

from dilated_ce.study.losses import parse_loss
from dilated_ce.study.training import Patches, Segmenter, train


def test_a_run_is_repeatable_and_leaves_the_data_alone(tiny_data):
    before = [case.image.copy() for case in tiny_data.train + tiny_data.test]
    first, second = (
        train(tiny_data, parse_loss("dbce:radius=2").build(), seed=0, config=TINY) for _ in range(2)
    )
    assert first.losses == second.losses
    assert first.curve == second.curve
    assert first.predictions.keys() == {case.name for case in tiny_data.test}
    for name, prediction in first.predictions.items():
        np.testing.assert_array_equal(prediction, second.predictions[name])
    for case, image in zip(tiny_data.train + tiny_data.test, before, strict=True):
        np.testing.assert_array_equal(case.image, image)


@pytest.mark.parametrize(("steps", "evaluations", "points"), [(3, 3, [1, 2, 3]), (5, 2, [3, 5])])
def test_the_last_point_of_the_curve_is_the_end(tiny_data, steps, evaluations, points):
    config = TINY.model_copy(update={"steps": steps, "evaluations": evaluations})
    counted = []
    result = train(
        tiny_data, parse_loss("ce").build(), 0, config, on_step=lambda: counted.append(1)
    )
    assert [step for step, _ in result.curve] == points
    assert len(result.losses) == len(counted) == steps


def test_every_loss_starts_from_the_same_weights_and_sees_the_same_patches(tiny_data):
    """The first training loss under CE is that of the seed, whatever was trained before."""
    alone = train(tiny_data, parse_loss("ce").build(), 1, TINY).losses
    train(tiny_data, parse_loss("dice-ce").build(), 1, TINY)
    after = train(tiny_data, parse_loss("ce").build(), 1, TINY).losses
    infinite = train(tiny_data, parse_loss("dbce:radius=inf").build(), 1, TINY).losses
    assert alone == after
    assert infinite == pytest.approx(alone, rel=1e-4)
    assert train(tiny_data, parse_loss("ce").build(), 2, TINY).losses[0] != alone[0]


def test_a_patch_depends_on_its_seed_and_number_alone(tiny_data):
    patches = Patches(tiny_data, 0, TINY)
    fifth = patches[5]
    for index in (0, 3, 1):
        patches[index]
    again = Patches(tiny_data, 0, TINY)[5]
    for key in ("image", "labels"):
        assert torch.equal(fifth[key], again[key])
    assert fifth["image"].shape == (3, 32, 32)
    assert fifth["labels"].shape == (1, 32, 32)
    assert len(patches) == TINY.steps * TINY.batch_size
    assert not torch.equal(Patches(tiny_data, 1, TINY)[5]["image"], fifth["image"])
    assert not torch.equal(patches[4]["image"], fifth["image"])


def test_images_smaller_than_a_patch_are_padded_with_background(tiny_data):
    patch = Patches(tiny_data, 0, TINY.model_copy(update={"patch_size": 64}))[0]
    assert patch["image"].shape == (3, 64, 64)
    assert patch["labels"].sum() > 0


def test_a_whole_image_is_predicted_at_its_own_size(tiny_data):
    segmenter = Segmenter(parse_loss("ce").build(), tiny_data, TINY, lambda: None)
    image = torch.zeros(3, *tiny_data.test[0].labels.shape)
    segmenter.validation_step((0, image), 0)
    prediction = segmenter.result.predictions[tiny_data.test[0].name]
    assert prediction.shape == tiny_data.test[0].labels.shape
    assert prediction.dtype == np.uint8


def test_a_run_leaves_the_process_as_it_was(tiny_data):
    import logging
    import warnings

    from monai.data import get_track_meta

    filters, level = list(warnings.filters), logging.getLogger("lightning.pytorch").level
    train(tiny_data, parse_loss("ce").build(), 0, TINY)
    assert get_track_meta()
    assert warnings.filters == filters
    assert logging.getLogger("lightning.pytorch").level == level
