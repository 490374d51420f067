"""The inspection against scipy, numpy and the core's own weights."""

import base64
import io
import json
import math
import re
import shlex
from functools import partial
from itertools import product

import nibabel as nib
import numpy as np
import oracles
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from scipy import ndimage

from dilated_ce import adaptive_dilated_weights, dilated_balanced_weights
from dilated_ce.inspection import (
    adaptive_lines,
    advise,
    default_radii,
    measure,
    weigh,
    write_page,
    write_weight_maps,
)
from dilated_ce.inspection.page import representatives
from dilated_ce.inspection.planes import view
from dilated_ce.inspection.words import number, percent
from dilated_ce.study.data.cases import Case, CaseSource, DataError, DataSet, Split
from dilated_ce.study.training.loss_spec import parse_losses

RADII = (0, 1, 1.5, 3, 5.3, math.inf)
CLASSES = ("background", "organ", "lesion")


def same(case):
    return case


def broken(name):
    raise DataError(f"{name}: cannot be read")


def make_data(cases, *, spatial_dims=2, unit="px", train=None, classes=CLASSES, **options):
    """A data set in memory; all cases are for training unless `train` says how many."""
    names = tuple(case.name for case in cases)
    count = len(names) if train is None else train
    sources = tuple(CaseSource(case.name, partial(same, case), case.name) for case in cases)
    settings = {
        "name": "made up",
        "source": "Made up.",
        "channels": ("grey",),
        "ignore_index": None,
        "folds": (Split(names[:count], (), names[count:]),),
        "split": "The first are for training.",
    } | options
    return DataSet(classes=classes, spatial_dims=spatial_dims, unit=unit, cases=sources, **settings)


def make_case(name, labels, spacing=None):
    labels = np.asarray(labels, np.uint8)
    image = np.random.default_rng(0).random((1, *labels.shape), dtype=np.float32)
    return Case(name, image, labels, spacing or (1.0,) * labels.ndim)


def blobs(shape, seed=0, ignored=False, sparse=0.88):
    """Labels 0, 1 and 2 in random blobs, small enough to leave far background."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    high, higher = np.quantile(noise, (sparse, (1 + sparse) / 2))
    labels = (noise > high).astype(np.uint8) + (noise > higher)
    if ignored:
        labels[..., :3] = 255
    return labels


def reference_masks(labels, radius, spacing, num_classes=3, ignore=None):
    """Dilated masks (C, *spatial) of one image from scipy's exact distances."""
    valid = labels != ignore if ignore is not None else np.ones(labels.shape, bool)
    masks = []
    for index in range(num_classes):
        mask = labels == index
        if mask.any():
            mask = ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius
        masks.append(mask & valid)
    return np.stack(masks)


LAYOUTS = {  # shape, spatial_dims, spacing
    "image": ((29, 37), 2, (1.0, 1.0)),
    "anisotropic image": ((29, 37), 2, (0.7, 1.3)),
    "volume": ((14, 19, 11), 3, (0.8, 1.0, 2.5)),
    "stack": ((5, 23, 31), 2, (9.0, 1.0, 1.2)),
}


@pytest.mark.parametrize(("layout", "ignored"), [*product(LAYOUTS, (False, True))])
def test_dilated_volumes_are_those_of_distances(layout, ignored):
    shape, dims, spacing = LAYOUTS[layout]
    labels = blobs(shape, ignored=ignored)
    if layout == "stack":
        labels[2] = 0  # a slice without foreground
    data = make_data(
        [make_case("a", labels, spacing)],
        spatial_dims=dims,
        ignore_index=255 if ignored else None,
    )
    measured = measure(data, RADII)
    images = labels if layout == "stack" else labels[None]
    for radius in RADII:
        expected = sum(
            reference_masks(image, radius, spacing[-dims:], ignore=255 if ignored else None)
            .reshape(3, -1)
            .sum(1)
            for image in images
        )
        rows = measured.dilated[measured.dilated["radius"] == radius]
        assert rows["volume"].tolist() == expected.tolist()
        assert measured.volumes.loc[radius].tolist() == expected.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_depth_is_the_mean_distance_to_the_complement(layout):
    shape, dims, spacing = LAYOUTS[layout]
    labels = blobs(shape, seed=3)
    measured = measure(make_data([make_case("a", labels, spacing)], spatial_dims=dims), [0])
    images = labels if layout == "stack" else labels[None]
    for index, name in enumerate(CLASSES[1:], start=1):
        inside = [
            ndimage.distance_transform_edt(image == index, sampling=spacing[-dims:])[image == index]
            for image in images
        ]
        row = measured.cases[measured.cases["class"] == name].iloc[0]
        assert row["depth"] == pytest.approx(np.concatenate(inside).mean())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_adaptive_radius_is_that_of_the_loss(layout):
    shape, dims, spacing = LAYOUTS[layout]
    labels = blobs(shape, seed=3)
    measured = measure(make_data([make_case("a", labels, spacing)], spatial_dims=dims), [0])
    images = labels if layout == "stack" else labels[None]
    radii = oracles.adaptive_radii(images, len(CLASSES), spacing[-dims:])
    for index, name in enumerate(CLASSES):
        row = measured.cases[measured.cases["class"] == name].iloc[0]
        assert row["adaptive"] == pytest.approx(np.median(radii[radii[:, index] > 0, index]))


def test_depth_of_a_disc_is_a_third_of_its_radius():
    y, x = np.mgrid[:101, :101]
    disc = (y - 50) ** 2 + (x - 50) ** 2 <= 30**2
    measured = measure(make_data([make_case("a", disc)], classes=("background", "disc")), [0])
    assert measured.classes["depth"].iloc[1] == pytest.approx(10, abs=0.5)


def test_counts_of_the_classes():
    labels = np.zeros((12, 12), np.uint8)
    labels[1, 1] = labels[2, 2] = 1  # diagonal neighbours are one component
    labels[8:10, 8:10] = 1
    labels[0, 0] = 255
    cases = [
        make_case("a", labels),
        make_case("b", np.zeros((12, 12))),
        make_case("c", np.full((12, 12), 2)),
    ]
    measured = measure(make_data(cases, train=2, ignore_index=255), [0])
    a = measured.cases[measured.cases["case"] == "a"].set_index("class")
    assert a["voxels"].tolist() == [137, 6, 0]
    assert a["components"].tolist() == [1, 2, 0]
    assert a["share"].tolist() == pytest.approx([137 / 143, 6 / 143, 0])
    assert set(a["part"]) == {"train"}
    c = measured.cases[measured.cases["case"] == "c"].set_index("class")
    assert set(c["part"]) == {"test"}
    assert math.isnan(c.loc["lesion", "depth"])  # it fills the image
    # The classes are those of the two training cases.
    assert measured.classes["voxels"].tolist() == [137 + 144, 6, 0]
    assert measured.classes["cases"].tolist() == [2, 1, 0]
    assert (measured.num_cases, measured.num_voxels) == (2, 143 + 144)


def place_masks(labels, radius, spacing, ignore):
    """Foreground, rim and far background of one image."""
    foreground = (labels > 0) & (labels != ignore)
    background = labels == 0
    distance = ndimage.distance_transform_edt(~foreground, sampling=spacing)
    close = distance <= radius if foreground.any() else np.zeros(labels.shape, bool)
    return foreground, background & close, background & ~close


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("scope", ["data", "image"])
def test_mean_weights_are_those_of_the_core_over_the_whole_training_part(scope, ignored):
    """All images as one batch: what the tallies stand for, of images as different as can be."""
    images = [
        blobs((24, 30), seed, ignored, sparse) for seed, sparse in enumerate((0.7, 0.9, 0.99))
    ]
    images.append(np.zeros((24, 30), np.uint8))
    ignore = 255 if ignored else None
    spacing = (0.9, 1.1)
    cases = [make_case(str(index), image, spacing) for index, image in enumerate(images)]
    measured = measure(make_data(cases, ignore_index=ignore, unit="mm"), RADII)
    batch = torch.from_numpy(np.stack(images))
    for radius in RADII:
        weights = dilated_balanced_weights(
            batch,
            radius,
            num_classes=3,
            spacing=spacing,
            volumes="batch" if scope == "data" else "image",
            ignore_index=ignore,
        ).numpy()
        places = np.stack([place_masks(image, radius, spacing, ignore) for image in images], 1)
        row = measured.weights_at(radius, scope)
        for name, place in zip(("foreground", "rim", "far"), places, strict=True):
            expected = weights[place].mean() if place.any() else math.nan
            assert row[name] == pytest.approx(expected, rel=1e-5, nan_ok=True), (radius, name)
            share = place.sum() / (batch.numpy() != 255).sum()
            assert row[f"{name}_share"] == pytest.approx(share)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ignored", [False, True])
def test_adaptive_mean_weights_are_those_of_the_core_over_the_whole_training_part(layout, ignored):
    shape, dims, spacing = LAYOUTS[layout]
    labels = [blobs(shape, seed, ignored, sparse) for seed, sparse in enumerate((0.7, 0.9))]
    labels.append(np.zeros(shape, np.uint8))
    ignore = 255 if ignored else None
    cases = [make_case(str(index), array, spacing) for index, array in enumerate(labels)]
    data = make_data(cases, spatial_dims=dims, ignore_index=ignore)
    found = measure(data, [0]).adaptive
    images = np.concatenate(labels) if layout == "stack" else np.stack(labels)
    options = {"spacing": spacing[-dims:], "ignore_index": ignore}
    weights = oracles.adaptive_weights(images, 3, **options)
    for index in range(3):
        expected = weights[images == index].mean()
        assert found.weight_of(index) == pytest.approx(expected, rel=1e-6)
    radii = oracles.adaptive_radii(images, 3, **options)
    masks = oracles.dilated_masks(images, radii, 3, **options)
    np.testing.assert_array_equal(found.volumes, oracles.volumes_of(masks))
    present = found.volumes > 0
    np.testing.assert_allclose(found.radii, np.where(present, radii, 0))
    row = found.places()
    near = masks[:, 1:].any(1)
    places = {
        "foreground": (images > 0) & (images != 255),
        "rim": (images == 0) & near,
        "far": (images == 0) & ~near,
    }
    for name, place in places.items():
        assert row[name] == pytest.approx(weights[place].mean(), rel=1e-6)
        assert row[f"{name}_share"] == pytest.approx(place.sum() / (images != 255).sum())
    several = (found.volumes > 0).sum(1) > 1
    ratios = [own[own > 0].max() / own[own > 0].min() for own in weights[several]]
    assert row["imbalance"] == pytest.approx(np.median(ratios))


def test_a_line_for_each_class_says_what_the_adaptive_loss_would_do(tmp_path):
    cases = [make_case(str(radius), disc(radius)) for radius in (3, 20)]
    data = make_data(cases, unit="mm")  # without a lesion
    measured = measure(data, [0])
    lines = dict(adaptive_lines(data, measured))
    assert list(lines) == ["background", "organ"]
    images = np.stack([case.labels for case in cases])
    weights = oracles.adaptive_weights(images, 3)
    organ = images == 1
    balanced = images.size / organ.sum() / 2
    assert lines["organ"] == (
        f"R = 2 to 8 mm. One of its voxels weighs {weights[organ].mean():.3g} on average "
        f"(balanced CE: {balanced:.3g}, CE: 1)."
    )
    assert lines["background"].startswith("R = 8 mm. ")
    assert "; beyond the neighbourhoods of the other classes " in lines["background"]
    write_page(tmp_path / "page.html", data, measured)
    assert lines["organ"] in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_imbalance_is_the_ratio_of_the_dilated_volumes():
    images = [blobs((24, 30), seed) for seed in range(3)]
    empty = [np.zeros((24, 30), np.uint8)] * 3  # with a single class there is nothing to balance
    cases = [make_case(str(index), image) for index, image in enumerate(images + empty)]
    measured = measure(make_data(cases), [0, 2])
    for radius in (0, 2):
        volumes = [reference_masks(image, radius, (1, 1)).reshape(3, -1).sum(1) for image in images]
        total = np.sum(volumes, 0)
        total[0] += 3 * 24 * 30
        each = np.median([part.max() / part.min() for part in volumes])
        assert measured.weights_at(radius, "data")["imbalance"] == total.max() / total.min()
        assert measured.weights_at(radius, "image")["imbalance"] == each


def test_absent_classes_take_no_part():
    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = 1
    row = measure(make_data([make_case("a", labels)]), [0]).weights_at(0, "data")
    assert row["imbalance"] == 80
    assert row["foreground"] / row["far"] == pytest.approx(80)


def test_default_radii_follow_the_size_and_the_spacing_of_the_images():
    def radii(shape, spacing, dims, unit="mm"):
        return default_radii(
            make_data([make_case("a", np.ones(shape), spacing)], spatial_dims=dims, unit=unit)
        )

    assert radii((20, 30), (1, 1), 2) == (0, 1, 2, 3, 4, 6, 8, 12, math.inf)
    assert radii((200, 200), (1, 1), 2)[-3:] == (48, 64, math.inf)
    assert radii((80, 80, 80), (0.8, 1, 3), 3)[-3:] == (24, 32, math.inf)  # half of 80 mm
    assert radii((90, 20, 20), (5, 0.5, 0.5), 2) == (0, 0.5, 1, 1.5, 2, 3, 4, math.inf)
    assert radii((40, 40), (0.1, 0.1), 2)[:4] == (0, 0.1, 0.2, 0.3)  # and not 0.30000000000000004


def test_only_some_training_cases_can_be_measured():
    cases = [make_case(f"c{index}", blobs((16, 16), index)) for index in range(6)]
    seen = []
    measured = measure(make_data(cases, train=5), [0], max_cases=3, on_case=lambda: seen.append(1))
    assert measured.cases["case"].unique().tolist() == ["c0", "c2", "c4"]
    assert (len(seen), measured.num_cases) == (3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radii": [-1]}, r"radii: got \[-1\], expected numbers >= 0"),
        ({"radii": [math.nan]}, "radii: got"),
        ({"radii": []}, "radii: got"),
        ({"max_cases": 0}, "max_cases: got 0, expected at least 1"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        measure(make_data([make_case("a", blobs((16, 16)))]), **options)


def test_a_label_that_is_no_class_is_an_error():
    labels = blobs((16, 16))
    labels[0, 0] = 7
    with pytest.raises(ValueError, match="got label 7, expected 0"):
        measure(make_data([make_case("a", labels)]), [1])


def test_an_unreadable_case_is_an_error():
    data = make_data([make_case("a", blobs((16, 16)))])
    source = CaseSource("b", partial(broken, "b"), "b")
    broken_data = DataSet(**{**vars(data), "cases": (*data.cases, source)})
    with pytest.raises(DataError, match="b: cannot be read"):
        measure(broken_data, [1])


# Weight maps


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("radius", [0, 2.0, math.inf])
def test_weights_are_those_of_the_core(layout, radius):
    shape, dims, spacing = LAYOUTS[layout]
    case = make_case("a", blobs(shape, ignored=True), spacing)
    data = make_data([case], spatial_dims=dims, ignore_index=255)
    labels = torch.from_numpy(case.labels if layout == "stack" else case.labels[None])
    options = {"num_classes": 3, "spacing": spacing[-dims:], "ignore_index": 255}
    for volumes in ("batch", "image"):
        expected = dilated_balanced_weights(labels, radius, volumes=volumes, **options)
        found = weigh(case, data, radius, volumes=volumes)
        np.testing.assert_array_equal(found, expected.numpy().reshape(shape))
    adaptive = adaptive_dilated_weights(labels, **options)
    np.testing.assert_array_equal(weigh(case, data, None), adaptive.numpy().reshape(shape))
    measured = measure(data, [radius])
    # The only case is the whole data set, so that its volumes are those of the data set.
    np.testing.assert_allclose(
        weigh(case, data, radius, **measured.balancing(radius)),
        weigh(case, data, radius),
        rtol=1e-6,
    )


def test_weights_with_the_volumes_of_the_training_part():
    cases = [make_case(str(seed), blobs((20, 26), seed, sparse=0.6 + seed / 10)) for seed in (0, 3)]
    data = make_data(cases)
    measured = measure(data, [2])
    both = dilated_balanced_weights(
        torch.from_numpy(np.stack([case.labels for case in cases])), 2, num_classes=3
    )
    for case, expected in zip(cases, both.numpy(), strict=True):
        np.testing.assert_allclose(
            weigh(case, data, 2, **measured.balancing(2)), expected, rtol=1e-6
        )
    with pytest.raises(ValueError, match=r"radius: got 3, expected one that was measured: 2\."):
        measured.balancing(3)


def test_weight_maps_of_volumes_are_nifti_with_the_spacing(tmp_path):
    case = make_case("a", blobs((9, 11, 7)), (0.8, 1.0, 2.5))
    data = make_data([case], spatial_dims=3, unit="mm")
    (path,) = write_weight_maps(tmp_path / "maps", data, 2.5, ["a"])
    assert path.name == "a_R2.5.nii.gz"
    image = nib.load(path)
    np.testing.assert_allclose(np.diag(image.affine), [0.8, 1.0, 2.5, 1.0])
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), weigh(case, data, 2.5))


def test_weight_maps_of_stacks_have_their_slices_last(tmp_path):
    case = make_case("a", blobs((4, 11, 7)), (9.0, 1.0, 1.2))
    data = make_data([case])
    (path,) = write_weight_maps(tmp_path, data, 1, ["a"])
    image = nib.load(path)
    np.testing.assert_allclose(np.diag(image.affine), [1.0, 1.2, 9.0, 1.0])
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 2], weigh(case, data, 1)[2])


def test_weight_maps_of_images_are_arrays_and_pictures(tmp_path):
    cases = [make_case(name, blobs((16, 20), seed, True)) for seed, name in enumerate("ab")]
    data = make_data(cases, ignore_index=255)
    paths = write_weight_maps(tmp_path, data, math.inf, ["a", "b"], volumes="image")
    assert [path.name for path in paths] == ["a_Rinf.npy", "a_Rinf.png", "b_Rinf.npy", "b_Rinf.png"]
    measured = measure(data, [1])
    (path, _) = write_weight_maps(tmp_path, data, None, ["a"], measured=measured)
    assert path.name == "a_adaptive.npy"
    by_hand = oracles.adaptive_weights(cases[0].labels[None], len(CLASSES), ignore_index=255)
    np.testing.assert_allclose(np.load(path), by_hand[0], rtol=1e-5)
    paths = write_weight_maps(tmp_path, data, 1, ["a", "b"])
    maps = [np.load(path) for path in paths[::2]]
    limits = min(m[m > 0].min() for m in maps), max(m.max() for m in maps)
    for case, weights, path in zip(cases, maps, paths[1::2], strict=True):
        np.testing.assert_array_equal(weights, weigh(case, data, 1))
        with Image.open(path) as picture:
            assert f"{limits[0]:.6g} to {limits[1]:.6g}, logarithmic" in picture.text["weights"]
            check_picture(picture, weights, limits)


def check_picture(picture, weights, limits):
    """The colours of a picture of weights, against the colour map on a logarithmic scale."""
    rgba = np.asarray(picture.convert("RGBA"))
    valid = weights > 0
    assert (rgba[..., 3] == np.where(valid, 255, 0)).all()
    low, high = np.log(limits)
    place = ((np.log(weights[valid]) - low) / (high - low)).astype(float)
    expected = colormaps["cividis"](np.round(place * 254) / 254)[:, :3] * 255
    # One of 255 colours to either side, where rounding differs.
    assert np.abs(rgba[valid][:, :3].astype(float) - expected).max() <= 4


def test_names_of_weight_maps_are_safe_and_distinct(tmp_path):
    names = ["../../etc/x", "A b", "a/b", "a b", "...", "é" * 300]
    data = make_data([make_case(name, blobs((8, 8))) for name in names])
    paths = write_weight_maps(tmp_path / "maps", data, 1, names)
    assert all(path.parent == tmp_path / "maps" and path.exists() for path in paths)
    assert len({path.name.lower() for path in paths}) == 2 * len(names)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    case = make_case("a", blobs((9, 11, 7)))
    data = make_data([case], spatial_dims=3)
    (path,) = write_weight_maps(tmp_path, data, 1, ["a"])
    before = path.read_bytes()

    def fail(image, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_weight_maps(tmp_path, data, 1, ["a"])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_weight_maps_of_unknown_cases_are_refused(tmp_path):
    data = make_data([make_case("a", blobs((8, 8)))])
    with pytest.raises(ValueError, match="cases: b is not among the 1 cases of made up, such as a"):
        write_weight_maps(tmp_path, data, 1, ["b"])


# Advice


def titles(data, **options):
    return [point.title for point in advise(data, measure(data, **options)).points]


def disc(radius, side=96, centre=None):
    y, x = np.mgrid[:side, :side]
    row, column = centre or (side // 2, side // 2)
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2).astype(np.uint8)


def test_the_radii_to_try_follow_the_depth():
    data = make_data([make_case("a", disc(24, 192))], classes=("background", "disc"))
    advice = advise(data, measure(data))
    assert advice.radii == (8, 16, 32)  # the depth is a third of 24
    fixed = [f"dbce-dice:radius={radius}" for radius in (8, 16, 32)]
    adaptive = ("adaptive-dbce", "adaptive-dbce-dice")
    assert advice.losses == ("ce", "dice-ce", *adaptive, *fixed)


def test_the_suggested_command_is_quoted_and_can_be_read_by_the_comparison():
    data = make_data([make_case("a", disc(12))], classes=("background", "disc"))
    command = advise(data, measure(data)).command("my data/it's $HOME", "--group-by", "(a|b)")
    words = shlex.split(command)
    assert words[:4] == ["dilated-ce", "compare", "--data", "my data/it's $HOME"]
    assert words[4:6] == ["--group-by", "(a|b)"]
    specs = parse_losses(words[words.index("--losses") + 1])
    radii = {spec.settings["radius"] for spec in specs if spec.name == "dbce-dice"}
    assert radii == {4, 8, 16}
    assert len(set(specs)) == len(specs)


def test_the_suggested_command_has_radii_in_voxels_as_the_comparison_counts_them():
    case = make_case("a", disc(24, 192), (0.5, 0.5))
    data = make_data([case], classes=("background", "disc"), unit="mm")
    advice = advise(data, measure(data))
    assert advice.radii == (4, 8, 16)  # mm
    assert advice.losses[-3:] == tuple(f"dbce-dice:radius={radius}" for radius in (8, 16, 32))
    assert "in voxels of 0.5 mm" in advice.points[0].text


def test_thin_structures_are_named():
    labels = disc(20)
    labels[5, :] = 2
    assert "Thin: lesion" in titles(make_data([make_case("a", labels)]))
    assert "Thin: organ" not in titles(make_data([make_case("a", disc(20))]))


def test_tiny_classes_are_named_with_their_factor():
    labels = np.zeros((60, 60), np.uint8)
    labels[30, 30] = 1
    data = make_data([make_case("a", labels)], classes=("background", "speck"))
    points = {point.title: point.text for point in advise(data, measure(data)).points}
    text = points["Balanced CE would exaggerate: speck"]
    assert "one voxel of speck weighs as much as 3,599 of the background" in text
    assert not [
        title for title in titles(make_data([make_case("a", disc(30))])) if "exagg" in title
    ]


def test_the_radius_from_which_it_is_nearly_ce_is_named_and_not_suggested():
    data = make_data([make_case("a", disc(13, 48))], classes=("background", "disc"))
    measured = measure(data, [0, 1, 2, 4, 6, 8, 12, 16])
    advice = advise(data, measured)
    (title,) = [point.title for point in advice.points if "nearly plain CE" in point.title]
    first = float(re.search(r"R = ([\d.]+)", title)[1])
    rows = [measured.weights_at(radius, "data") for radius in measured.radii]
    near = [r["radius"] for r in rows if r["imbalance"] < 1.5 or r["far_share"] < 0.1]
    assert first == near[0]
    assert advice.radii
    assert max(advice.radii) < first


def test_balanced_classes_are_named():
    data = make_data([make_case("a", disc(20, 48))], classes=("background", "disc"))
    assert "The classes are nearly balanced as they are" in titles(data)


def test_rare_absent_and_uneven_classes_are_named():
    cases = [make_case(str(index), disc(2 + 10 * (index > 0))) for index in range(4)]
    cases[0].labels[0, 0] = 2
    found = titles(make_data(cases))
    assert "Classes that most cases lack" in found
    assert "Objects of very different sizes" in found
    assert "Not in the training part: lesion" in titles(make_data(cases[1:]))


def test_without_foreground_no_radius_is_suggested(tmp_path):
    data = make_data([make_case("a", np.zeros((20, 20)))])
    measured = measure(data)
    advice = advise(data, measured)
    assert (advice.radii, advice.losses) == ((), ("ce", "dice-ce"))
    assert "Not in the training part: organ and lesion" in titles(data)
    write_page(tmp_path / "page.html", data, measured)
    assert "no foreground" in (tmp_path / "page.html").read_text(encoding="utf-8")


# The page


def read_page(path):
    """Its text, and the contents of its frames."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script id="frames" type="application/json">(.*?)</script>', text, re.S)
    return text, json.loads(found[1])


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def adaptive_maps(images, num_classes=2, spacing=None):
    """Each image on its own."""
    return np.concatenate(
        [oracles.adaptive_weights(image[None], num_classes, spacing) for image in images]
    )


def test_the_page_shows_the_weights_of_the_core(tmp_path):
    cases = [
        make_case(name, disc(radius, 64)) for name, radius in zip("abc", (3, 9, 20), strict=True)
    ]
    data = make_data(cases, classes=("background", "disc"))
    measured = measure(data, [0, 2, 6, math.inf])
    write_page(tmp_path / "page.html", data, measured)
    _, frames = read_page(tmp_path / "page.html")
    assert [frame["name"] for frame in frames] == [
        "found for each class (Adaptive DBCE)",
        "0 px (balanced CE)",
        "2 px",
        "6 px",
        "∞ (plain CE)",
    ]
    batch = torch.from_numpy(np.stack([case.labels for case in cases]))
    for scope, volumes in (("data", "batch"), ("image", "image")):
        # One scale for all stops. Images are equally large, but each adaptive map is its own.
        maps = {
            radius: dilated_balanced_weights(batch, radius, num_classes=2, volumes=volumes).numpy()
            for radius in measured.radii
        }
        maps = {None: adaptive_maps(batch.numpy()), **maps}
        limits = min(m.min() for m in maps.values()), max(m.max() for m in maps.values())
        if scope == "image":  # of each alone, whose mean is 1 as images are equally large
            limits = tuple(map(float, limits))
        for frame, radius in zip(frames, maps, strict=True):
            assert frame["adaptive"] == (radius is None)
            for uri, weights in zip(frame[scope]["weights"], maps[radius], strict=True):
                check_picture(decode(uri), weights, limits)


def test_the_page_outlines_the_dilated_masks(tmp_path):
    case = make_case("a", disc(20, 384))
    data = make_data([case], classes=("background", "disc"))
    write_page(tmp_path / "page.html", data, measure(data, [0, 30]))
    _, frames = read_page(tmp_path / "page.html")
    (adaptive,) = oracles.adaptive_radii(case.labels[None], 2)
    assert tuple(adaptive) == (8, 8)
    for frame, radius in zip(frames, (8, 0, 30), strict=True):
        shown = np.asarray(decode(frame["masks"][0]).convert("RGBA"))
        inside, outside = reference_masks(case.labels, radius, (1, 1), 2)[::-1]
        orange = (shown[..., :3] == (0xE6, 0x9F, 0x00)).all(-1)
        assert ((shown[..., 3] > 0) & orange)[inside & ~ndimage.binary_dilation(outside)].all()
        line = orange & (shown[..., 3] == 255)
        edge = inside & ~ndimage.binary_erosion(inside)
        assert line[edge].all()
        assert not line[~inside].any()


def test_the_page_is_self_contained_and_escapes_names(tmp_path):
    nasty = "<script>alert('x')</script>&\""
    classes = ("background", nasty)
    data = make_data(
        [make_case(nasty, disc(9))], classes=classes, name=nasty, source=nasty, split="</style>"
    )
    path = tmp_path / "new" / "page.html"
    write_page(path, data, measure(data), arguments=("a <b>", "--scale", "0.5"))
    text, frames = read_page(path)
    assert "<script>alert" not in text
    assert "</style>" not in text.split("</style>", 1)[1]
    assert nasty in frames[0]["masksAlt"][0]
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert not re.search(r"(https?:)?//[a-z]+\.|@import|url\(", text)
    assert "--data &#39;a &lt;b&gt;&#39; --scale 0.5 --losses" in text
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", text))
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_large_pictures_are_thinned_out_until_the_page_is_small(tmp_path, monkeypatch):
    case = make_case("a", np.random.default_rng(0).random((600, 600)) > 0.5)
    data = make_data([case], classes=("background", "noise"))
    measured = measure(data, [0, 1])
    sides = []
    for most in (10_000_000, 120_000):
        monkeypatch.setattr("dilated_ce.inspection.page.MOST_PICTURES", most)
        write_page(tmp_path / "page.html", data, measured)
        _, frames = read_page(tmp_path / "page.html")
        sides.append(decode(frames[0]["data"]["weights"][0]).size)
    assert sides[0] == (300, 300)  # every second pixel
    assert sides[1] < (300, 300)
    pictures = "".join(re.findall(r"data:image/(?:png|jpeg)[^\"]*", str(frames)))
    assert len(pictures) < 120_000


@pytest.mark.parametrize("scope", ["data", "image"])
def test_a_volume_is_shown_in_the_slice_with_the_most_foreground(tmp_path, scope):
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[4:8, 5:7, 3:5] = 1
    labels[4:12, 5:9, 8] = 1
    small = np.zeros_like(labels)
    small[2:4, 2:4, 9] = 1
    data = make_data(
        [make_case("a", labels, (1, 1, 1.5)), make_case("b", small, (1, 1, 1.5))],
        spatial_dims=3,
        unit="mm",
        classes=CLASSES[:2],
    )
    radii = (0, 1, 2.9, 7, math.inf)
    measured = measure(data, radii)
    write_page(tmp_path / "page.html", data, measured)
    text, frames = read_page(tmp_path / "page.html")
    assert "slice 8 along z" in text
    assert "slice 9 along z" in text
    shown = ["b", "a"]  # the smallest first
    planes = {}
    for radius, (name, index) in product((None, *radii), zip(shown, (9, 8), strict=True)):
        case = data.by_name[name].load()
        options = measured.balancing(radius) if scope == "data" and radius is not None else {}
        weights = weigh(case, data, radius, **options)[..., index]
        planes[radius, name] = np.rot90(weights)  # x to the right, y upwards
    limits = min(p.min() for p in planes.values()), max(p.max() for p in planes.values())
    for frame, radius in zip(frames, (None, *radii), strict=True):
        for uri, name in zip(frame[scope]["weights"], shown, strict=True):
            check_picture(decode(uri), planes[radius, name], limits)


def test_a_slice_of_a_stack_is_an_image_of_its_own(tmp_path):
    labels = np.zeros((3, 20, 24), np.uint8)
    labels[0, 4:8, 5:9] = 1
    labels[1, 4:12, 5:19] = 1
    data = make_data([make_case("a", labels, (9, 1, 1))], classes=CLASSES[:2])
    write_page(tmp_path / "page.html", data, measure(data, [0, 2]))
    text, frames = read_page(tmp_path / "page.html")
    assert "slice 1)" in text
    assert "each slice on its own" in text
    options = {"num_classes": 2}
    maps = [
        adaptive_maps(labels[1:2])[0],
        *(
            dilated_balanced_weights(torch.from_numpy(labels[1:2]), r, **options)[0].numpy()
            for r in (0, 2)
        ),
    ]
    limits = min(m.min() for m in maps), max(m.max() for m in maps)
    for frame, weights in zip(frames, maps, strict=True):
        # x to the right, y upwards, as volumes are shown.
        check_picture(decode(frame["image"]["weights"][0]), np.rot90(weights), limits)


def test_slices_of_a_stack_keep_their_shape():
    case = make_case("a", np.ones((3, 20, 24)), (9, 1, 1.5))
    shown = view(case, "median foreground", make_data([case]))
    assert shown.plane(case.labels).shape == (24, 20)
    assert shown.aspect == pytest.approx(20 / 36)


def test_the_representatives_are_the_smallest_the_median_and_the_largest():
    cases = [make_case(str(radius), disc(radius)) for radius in (9, 3, 20, 12, 5)]
    cases.append(make_case("none", np.zeros((96, 96))))
    shown = representatives(measure(make_data(cases), [0]))
    assert [name for name, _ in shown] == ["3", "9", "20"]


def test_numbers_are_short():
    assert [number(x) for x in (0.33791, 6.574, 17.27, 12345.6, 1.0, math.nan)] == [
        "0.338",
        "6.57",
        "17.3",
        "12,346",
        "1",
        "-",
    ]
    assert [percent(x) for x in (0.9477, 0.02711, 0.000421)] == ["94.8%", "2.71%", "0.0421%"]
