import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import make_dataset

from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.training.patches import (
    Patches,
    StepSampler,
    change,
    cut,
    draw_centre,
    draw_change,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return {dims: prepare(make_dataset(dims), folder / str(dims)) for dims in (2, 3)}


def patches(prepared, size, seed=0, foreground=0.5, augment=True):
    return Patches(prepared, 0, ["case0", "case1", "case2"], size, seed, foreground, augment)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (64, 64)])
def test_a_patch_is_a_function_of_the_seed_and_its_number(prepared, size):
    first, second = patches(prepared[2], size), patches(prepared[2], size)
    forwards = [first[index] for index in range(6)]
    backwards = [second[index] for index in reversed(range(6))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert one["image"].shape == (1, *size)
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    others = [patches(prepared[2], size, seed=1)[index] for index in range(6)]
    assert not all(
        torch.equal(a["image"], b["image"]) for a, b in zip(forwards, others, strict=True)
    )


def batch_of(items):
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def test_image_and_labels_turn_together(prepared):
    # The labels show in the image, so the two stay correlated if they move alike.
    for dims, size in ((2, (32, 32)), (3, (16, 16, 16))):
        cut_out = [patches(prepared[dims], size, foreground=1.0)[index] for index in range(8)]
        changed = change(batch_of(cut_out))
        moved = 0
        for index, before in enumerate(cut_out):
            image, labels = changed["image"][index], changed["labels"][index]
            values = torch.stack([image.flatten(), labels.flatten().float()])
            assert torch.corrcoef(values)[0, 1] > 0.7
            moved += not torch.equal(labels, before["labels"])
        assert moved > 3


@given(
    dims=st.sampled_from([2, 3]),
    seed=st.integers(0, 999),
    sides=st.lists(st.integers(2, 5), min_size=3, max_size=3),
)
def test_a_batch_is_changed_as_numpy_changes_each_patch(dims, seed, sides):
    random = np.random.default_rng(seed)
    shape = tuple(sides[:dims])
    images = random.normal(size=(3, 2, *shape)).astype(np.float32)
    labels = random.integers(0, 9, (3, 1, *shape)).astype(np.uint8)
    changes = [draw_change(dims, random).numpy() for _ in range(3)]
    batch = {
        "image": torch.tensor(images),
        "labels": torch.tensor(labels),
        "change": torch.tensor(np.array(changes)),
    }
    found = change(batch)
    pairs = [(a, b) for a in range(dims) for b in range(a + 1, dims) if shape[a] == shape[b]]
    for index, (*flips, turns, factor, offset) in enumerate(changes):
        for values, name in ((images, "image"), (labels, "labels")):
            expected = values[index]
            for axis, flip in enumerate(flips):
                expected = np.flip(expected, axis + 1) if flip else expected
            if pairs:
                expected = np.rot90(expected, int(turns), [axis + 1 for axis in pairs[0]])
            if name == "image":
                expected = expected * factor + offset
            np.testing.assert_allclose(found[name][index], expected, rtol=1e-6, atol=1e-6)


def test_changes_are_as_often_as_they_say():
    random = np.random.default_rng(0)
    drawn = np.array([draw_change(2, random).numpy() for _ in range(4000)])
    np.testing.assert_allclose(drawn[:, :2].mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(np.bincount(drawn[:, 2].astype(int)) / 4000, 0.25, atol=0.03)
    for values, middle in ((drawn[:, 3], 1), (drawn[:, 4], 0)):
        assert np.mean(values == middle) == pytest.approx(0.5, abs=0.03)
        assert (np.abs(values - middle) <= 0.1 + 1e-6).all()
        assert values.std() > 0.03


def test_foreground_is_in_the_patches_that_are_centred_on_it(prepared):
    wanted = patches(prepared[3], (8, 8, 8), foreground=1.0)
    assert all(wanted[index]["labels"].any() for index in range(20))
    anywhere = patches(prepared[3], (8, 8, 8), foreground=0.0)
    assert not all(anywhere[index]["labels"].any() for index in range(20))


def test_classes_are_centred_on_alike(prepared):
    random = np.random.default_rng(0)
    labels = prepared[2].load("case0").labels
    centres = [draw_centre(prepared[2], "case0", labels.shape, 1.0, random) for _ in range(400)]
    core = np.mean([labels[centre] == 2 for centre in centres])
    assert 0.4 < core < 0.6
    assert np.mean(labels == 2) < 0.5 * np.mean(labels > 0)


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 2),
    size=st.tuples(*[st.sampled_from([4, 8])] * 2),
    data=st.data(),
)
def test_the_patch_holds_its_centre_and_keeps_its_size(shape, size, data):
    centre = tuple(data.draw(st.integers(0, side - 1)) for side in shape)
    labels = np.zeros(shape, np.uint8)
    labels[centre] = 1
    patch = cut(labels[None].astype(np.float16), labels, centre, size)
    assert patch["labels"].shape == patch["image"].shape == (1, *size)
    assert patch["labels"].sum() == patch["image"].sum() == 1
    assert patch["image"].dtype == torch.float32


def test_a_stack_gives_the_slice_of_its_centre():
    labels = np.arange(5, dtype=np.uint8).repeat(64).reshape(5, 8, 8)
    patch = cut(labels[None].astype(np.float32), labels, (3, 4, 4), (4, 4))
    assert patch["labels"].shape == (1, 4, 4)
    assert (patch["labels"] == 3).all()
    assert (patch["image"] == 3).all()


def test_processes_share_the_batches_of_one():
    alone = list(StepSampler(range(3, 6), 8))
    parts = [list(StepSampler(range(3, 6), 8, process, 4)) for process in range(4)]
    assert alone[0] == list(range(24, 32))
    assert [[*a, *b, *c, *d] for a, b, c, d in zip(*parts, strict=True)] == alone
    assert len(StepSampler(range(3, 6), 8)) == 3
