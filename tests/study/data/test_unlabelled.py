"""Reading images that have no labels."""

import numpy as np
import pytest
from PIL import Image

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.images import COLOURS
from dilated_ce.study.data.unlabelled import Unlabelled, find_unlabelled

GREY = np.random.default_rng(0).integers(0, 255, (8, 10)).astype(np.uint8)


def test_a_grey_picture_has_three_channels_only_where_training_gave_it_three(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    image = Unlabelled.read([path], COLOURS).image  # as of folders of pictures
    np.testing.assert_allclose(image, np.stack([GREY] * 3) / 255, rtol=1e-6)
    assert Unlabelled.read([path], ["MR"]).image.shape == (1, 8, 10)
    with pytest.raises(DataError, match=r"a.png: is one grey channel .*or a file for each"):
        Unlabelled.read([path], ["T1", "T2", "FLAIR"])


def test_links_that_lead_nowhere(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/nowhere")
    with pytest.raises(DataError, match=r"b.png: link to /nowhere leads nowhere"):
        find_unlabelled([tmp_path], 1)
    (tmp_path / "b.png").rename(tmp_path / "notes.txt")
    assert [*find_unlabelled([tmp_path], 1)] == ["a"]
