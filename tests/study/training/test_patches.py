import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import make_dataset

from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.training.patches import Patches, StepSampler, cut, draw_centre


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


def test_image_and_labels_turn_together(prepared):
    # The labels show in the image, so the two stay correlated if they move alike.
    for dims, size in ((2, (32, 32)), (3, (16, 16, 16))):
        for index in range(8):
            patch = patches(prepared[dims], size, foreground=1.0)[index]
            values = torch.stack([patch["image"].flatten(), patch["labels"].flatten().float()])
            assert torch.corrcoef(values)[0, 1] > 0.7


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
