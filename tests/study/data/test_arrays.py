import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilated_ce.study.data.arrays import open_array, read_array, write_array


@given(
    shape=st.lists(st.integers(1, 24), min_size=2, max_size=4),
    axes=st.integers(2, 3),
    dtype=st.sampled_from(["uint8", "float16"]),
    data=st.data(),
)
def test_any_part_is_read_as_it_was_written(tmp_path_factory, shape, axes, dtype, data):
    axes = min(axes, len(shape))
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    path = tmp_path_factory.mktemp("arrays") / "a.b2nd"
    write_array(path, values, axes)
    np.testing.assert_array_equal(read_array(path), values)
    starts = [data.draw(st.integers(0, side - 1)) for side in shape]
    window = tuple(
        slice(start, data.draw(st.integers(start + 1, side)))
        for start, side in zip(starts, shape, strict=True)
    )
    part = open_array(path)[window]
    assert part.dtype == values.dtype
    np.testing.assert_array_equal(part, values[window])


def test_a_slice_of_a_stack(tmp_path):
    values = np.arange(2 * 5 * 6 * 7).reshape(2, 5, 6, 7).astype(np.uint8)
    write_array(tmp_path / "a.b2nd", values, 2)
    np.testing.assert_array_equal(
        open_array(tmp_path / "a.b2nd")[:, 3, 1:4, :5], values[:, 3, 1:4, :5]
    )


def test_what_is_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "a.b2nd"
    for value in (1, 2):
        write_array(path, np.full((3, 4), value, np.uint8), 2)
        assert (open_array(path)[1:] == value).all()


def test_a_disk_that_takes_nothing_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.b2nd"
    write_array(path, np.ones((3, 4), np.uint8), 2)

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_array(path, np.zeros((3, 4), np.uint8), 2)
    monkeypatch.undo()
    assert read_array(path).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.b2nd"]
