"""From folders on the disk to a data set, and what is said of those that are none."""

import errno
import json
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from study.data.written import disc, paletted, read, write
from toy import check_cases

from dilated_ce.study.data.cases import Case, DataError
from dilated_ce.study.data.reading import DataConfig, open_data
from dilated_ce.study.data.volumes import resample

SHAPE = (6, 8, 5)
LABELS = {"background": 0, "rim": 1, "core": 2}


def labels_of(number, shape=SHAPE):
    labels = np.random.default_rng(number).integers(0, 3, shape).astype(np.uint8)
    labels.flat[:3] = (0, 1, 2)
    return labels


def save(values, path, spacing=(1, 1, 2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*spacing, 1])), path)


def write_json(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(contents))


@pytest.fixture
def nnunet(tmp_path):
    folder = tmp_path / "Dataset007_Größe mit Leerzeichen"
    for number in range(6):
        for channel in range(2):
            image = np.random.default_rng([number, channel]).normal(size=SHAPE)
            save(image.astype(np.float32), folder / f"imagesTr/case{number}_000{channel}.nii.gz")
        save(labels_of(number), folder / f"labelsTr/case{number}.nii.gz")
    write_json(folder, channel_names={"0": "T1", "1": "T2"}, labels=LABELS, file_ending=".nii.gz")
    return folder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "polyps"
    for number in range(6):
        image = np.random.default_rng(number).integers(0, 255, (8, 10, 3)).astype(np.uint8)
        for part, picture in (
            ("images", Image.fromarray(image)),
            ("masks", Image.fromarray((labels_of(number, (8, 10)) > 1).astype(np.uint8) * 255)),
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
            picture.save(folder / part / f"{number}.png")
    return folder


def open_at(path, **options):
    return open_data(DataConfig(path=path, **options))


def test_nnunet_raw(nnunet):
    data = open_at(nnunet)
    assert (data.spatial_dims, data.unit) == (3, "mm")
    assert data.classes == ("background", "rim", "core")
    assert data.channels == ("T1", "T2")
    case = pickle.loads(pickle.dumps(data.by_name["case3"])).load()
    assert case.image.shape == (2, *SHAPE)
    assert case.spacing == (1, 1, 2)
    np.testing.assert_array_equal(case.labels, labels_of(3))
    expected = np.random.default_rng([3, 1]).normal(size=SHAPE)
    np.testing.assert_allclose(case.image[1], expected, rtol=1e-6)
    assert all(file.is_file() for file in data.by_name["case3"].files)


def test_slices_are_cut_across_the_thick_axis(nnunet):
    data = open_at(nnunet, dims=2)
    case = data.by_name["case3"].load()
    assert data.spatial_dims == 2
    assert case.spacing == (2, 1, 1)
    np.testing.assert_array_equal(case.labels, np.moveaxis(labels_of(3), 2, 0))
    assert case.image.shape == (2, 5, 6, 8)


@pytest.mark.parametrize(("axis", "spacing"), [(2, (1.5, 1, 1)), (0, (1, 1, 3))])
def test_an_image_in_a_volume_of_one_slice_stays_whole(tmp_path, axis, spacing):
    folder = tmp_path / "Dataset003_Flat"
    for number in range(2):
        for path in (f"imagesTr/c{number}_0000.nii.gz", f"labelsTr/c{number}.nii.gz"):
            save(np.expand_dims(labels_of(number, (30, 24)), axis), folder / path, spacing)
    write_json(folder, channel_names={"0": "x"}, labels=LABELS, file_ending=".nii.gz")
    data = open_at(folder)
    assert data.spatial_dims == 2
    case = data.cases[1].load()
    np.testing.assert_array_equal(case.labels, labels_of(1, (30, 24))[None])
    assert case.image.shape == (1, 1, 30, 24)
    assert case.spacing == (spacing[axis], *np.delete(spacing, axis))


def test_a_volume_of_one_slice_among_others_is_a_volume(nnunet):
    for path in nnunet.rglob("case0*"):
        save(np.asarray(nibabel.load(path).dataobj)[..., :1], path)
    data = open_at(nnunet)
    assert data.spatial_dims == 3
    assert [case.load().labels.shape for case in data.cases[:2]] == [(6, 8, 1), SHAPE]


def test_resampling_to_more_voxels_than_memory_holds_is_refused():
    case = Case("a", np.zeros((1, 4, 5, 6), np.float32), np.zeros((4, 5, 6), np.uint8), (1, 1, 3))
    with pytest.raises(DataError, match=r"a would have 4000 x 5000 x 18000 voxels, .* 1 x 1 x 3"):
        resample(case, (0.001, 0.001, 0.001))


def test_resampling_keeps_the_place_of_things(tmp_path):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    folder = tmp_path / "Dataset001_Cube"
    for number in range(2):
        save(labels.astype(np.float32), folder / f"imagesTr/c{number}_0000.nii.gz", (1, 1, 1))
        save(labels, folder / f"labelsTr/c{number}.nii.gz", (1, 1, 1))
    write_json(
        folder, channel_names={"0": "x"}, labels={"background": 0, "c": 1}, file_ending=".nii.gz"
    )
    case = open_at(folder, spacing=(0.5, 1, 2)).cases[0].load()
    assert case.labels.shape == (16, 8, 4)
    assert case.spacing == (0.5, 1, 2)
    expected = np.zeros((16, 8, 4), np.uint8)
    expected[4:12, 2:6, 1:3] = 1
    np.testing.assert_array_equal(case.labels, expected)


@pytest.mark.parametrize(
    "options", [{}, {"dims": 2}, {"spacing": (1, 1, 1)}, {"dims": 2, "spacing": (0.7, 1)}]
)
def test_the_affine_follows_slices_and_resampling(tmp_path, options):
    oblique = np.array([[0.6, -0.8, 0, -30], [0.8, 0.6, 0, 12], [0, 0, 3, 7.5], [0, 0, 0, 1]])
    shape = (20, 24, 10)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    ball = (((places - (8, 13, 5)) * (1, 1, 3)) ** 2).sum(-1) < 36
    folder = tmp_path / "Dataset008_Oblique"
    for number in range(4):
        for path in (f"imagesTr/case{number}_0000.nii.gz", f"labelsTr/case{number}.nii.gz"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(ball.astype(np.uint8), oblique), folder / path)
    labels = {"background": 0, "ball": 1}
    write_json(folder, channel_names={"0": "MRI"}, labels=labels, file_ending=".nii.gz")
    case = open_at(folder, **options).cases[0].load()
    sizes = np.linalg.norm(case.affine[:3, :3], axis=0)
    np.testing.assert_allclose(sizes, case.spacing, rtol=0.03)  # sides are whole numbers
    centre = np.argwhere(case.labels).mean(0)
    true = oblique @ [*np.argwhere(ball).mean(0), 1]
    np.testing.assert_allclose(case.affine @ [*centre, 1], true, atol=0.2)


def test_an_ignored_label_and_values_that_are_not_in_a_row(nnunet):
    write_json(
        nnunet,
        channel_names={"0": "T1", "1": "T2"},
        labels={"background": 0, "core": 2, "ignore": 1},
        file_ending=".nii.gz",
    )
    data = open_at(nnunet)
    assert data.classes == ("background", "core")
    assert data.ignore_index == 255
    expected = np.select([labels_of(0) == 0, labels_of(0) == 2], [0, 1], 255)
    np.testing.assert_array_equal(data.cases[0].load().labels, expected)


def test_the_decathlon(nnunet):
    for number in range(6):
        parts = [
            np.asarray(nibabel.load(nnunet / f"imagesTr/case{number}_000{c}.nii.gz").dataobj)
            for c in range(2)
        ]
        save(np.stack(parts, -1), nnunet / f"imagesTr/case{number}.nii.gz")
    expected = open_at(nnunet).by_name["case3"].load()
    pairs = [
        {"image": f"./imagesTr/case{n}.nii.gz", "label": f"./labelsTr/case{n}.nii.gz"}
        for n in range(6)
    ]
    write_json(
        nnunet,
        modality={"0": "T1", "1": "T2"},
        labels={"0": "background", "1": "rim", "2": "core"},
        training=pairs,
    )
    data = open_at(nnunet)
    assert data.classes == ("background", "rim", "core")
    np.testing.assert_array_equal(data.by_name["case3"].load().image, expected.image)


@pytest.mark.parametrize("other", ["labelsTr/p1/case0.nii.gz", "labelsTr/case0.nii.gz"])
def test_two_cases_of_the_decathlon_with_one_name(nnunet, other):
    save(labels_of(7), nnunet / "labelsTr/p1/case0.nii.gz")
    pairs = [
        {"image": "imagesTr/case0_0000.nii.gz", "label": "labelsTr/case0.nii.gz"},
        {"image": "imagesTr/case1_0000.nii.gz", "label": other},
    ]
    labels = {"0": "background", "1": "rim", "2": "core"}
    write_json(nnunet, modality={"0": "T1"}, labels=labels, training=pairs)
    with pytest.raises(DataError, match=f"labelsTr/case0.nii.gz and .*{other}: a case has its"):
        open_at(nnunet)


def test_an_absolute_path_to_a_file_that_is_missing(nnunet, monkeypatch):
    monkeypatch.chdir(nnunet.parent)
    label = str(nnunet / "labelsTr/nowhere.nii.gz")
    pairs = [{"image": "imagesTr/case0_0000.nii.gz", "label": label}]
    write_json(nnunet, modality={"0": "T1"}, labels={"0": "b", "1": "rim"}, training=pairs)
    with pytest.raises(DataError, match=r"labelsTr/nowhere.nii.gz: no such file"):
        open_at(nnunet.name)


def test_images_in_folders(images):
    data = open_at(images)
    assert (data.spatial_dims, data.unit, data.classes) == (2, "px", ("background", "foreground"))
    case = data.by_name["2"].load()
    pixels = np.asarray(Image.open(images / "images" / "2.png")).transpose(2, 0, 1)
    np.testing.assert_allclose(case.image, pixels / 255, rtol=1e-6)
    np.testing.assert_array_equal(case.labels, labels_of(2, (8, 10)) > 1)
    assert open_at(images, scale=0.5).by_name["2"].load().labels.shape == (4, 5)


def test_parts_as_the_folders_have_them(images):
    for part in ("train", "val", "test"):
        for kind in ("images", "masks"):
            target = images / part / kind
            target.mkdir(parents=True)
            for file in (images / kind).glob("[01].png"):
                (target / file.name).write_bytes(file.read_bytes())
    for kind in ("images", "masks"):
        (images / kind).rename(images / f"old {kind}")
    data = open_at(images)
    # The parts share their names, so these are told apart.
    assert data.folds[0].train == ("train/0", "train/1")
    assert data.folds[0].validation == ("validation/0", "validation/1")
    assert data.folds[0].test == ("test/0", "test/1")


def test_grey_values_and_colours_of_classes(images):
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    for number in range(6):
        grey = labels_of(number, (8, 10)) * 40
        Image.fromarray(grey).save(images / "masks" / f"{number}.png")
    data = open_at(images, mask_classes={"background": 0, "b": 80, "a": 40})
    assert data.classes == ("background", "b", "a")
    np.testing.assert_array_equal(
        data.cases[0].load().labels, np.array([0, 2, 1])[labels_of(0, (8, 10))]
    )
    assert open_at(images).classes == ("background", "40", "80")
    over = open_at(images, mask_threshold=50).cases[0].load().labels
    np.testing.assert_array_equal(over, labels_of(0, (8, 10)) == 2)
    for number in range(6):
        Image.fromarray(colours[labels_of(number, (8, 10))]).save(images / f"masks/{number}.png")
    named = {"background": "#000000", "red": "#ff0000", "blue": "blue"}
    np.testing.assert_array_equal(
        open_at(images, mask_classes=named).cases[0].load().labels, labels_of(0, (8, 10))
    )
    missing = open_at(images, mask_classes={"background": "#000000", "red": "#ff0000"})
    with pytest.raises(DataError, match=r"masks/0.png: holds the value #0000ff, which is no class"):
        missing.cases[0].load()


def test_jpeg_masks_are_black_and_white(images):
    for number in range(6):
        mask = Image.open(images / "masks" / f"{number}.png").resize((80, 64), 0)
        mask.save(images / "masks" / f"{number}.jpg", quality=70)
        (images / "masks" / f"{number}.png").unlink()
        Image.open(images / f"images/{number}.png").resize((80, 64)).save(
            images / f"images/{number}.png"
        )
    data = open_at(images)
    assert data.classes == ("background", "foreground")
    expected = (labels_of(0, (8, 10)) > 1).repeat(8, 0).repeat(8, 1)
    assert np.mean(data.cases[0].load().labels == expected) > 0.98


def test_pictures_in_nnunets_format(tmp_path):
    folder = tmp_path / "Dataset002_Skin"
    for number in range(4):
        rgb = np.random.default_rng(number).integers(0, 255, (8, 10, 3)).astype(np.uint8)
        for path, picture in (
            (folder / f"imagesTr/s{number}_0000.png", Image.fromarray(rgb)),
            (folder / f"labelsTr/s{number}.png", Image.fromarray(labels_of(number, (8, 10)))),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    names = {"0": "R", "1": "G", "2": "B"}
    write_json(folder, channel_names=names, labels=LABELS, file_ending=".png")
    data = open_at(folder)
    assert (data.spatial_dims, data.unit) == (2, "px")
    np.testing.assert_array_equal(data.cases[1].load().labels, labels_of(1, (8, 10)))
    assert data.cases[1].load().image.shape == (3, 8, 10)


GREY = np.random.default_rng(0).integers(0, 255, (8, 10)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 255, (8, 10, 3)).astype(np.uint8)


def one_case(folder, pictures, num_channels):
    labels = labels_of(0, (8, 10))
    for case in "ab":
        names = [f"imagesTr/{case}_{n:04d}" for n in range(len(pictures))] + [f"labelsTr/{case}"]
        for name, picture in zip(names, (*pictures, labels), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if not isinstance(picture, Image.Image):
                picture = Image.fromarray(picture)
            picture.save(folder / f"{name}.png")
    names = {str(number): f"channel {number}" for number in range(num_channels)}
    write_json(folder, channel_names=names, labels=LABELS, file_ending=".png")
    return open_at(folder).cases[0]


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        ([COLOUR], COLOUR.transpose(2, 0, 1)),
        ([np.stack([GREY] * 3, -1)], np.stack([GREY] * 3)),
        ([GREY, GREY // 2, GREY // 3], np.stack([GREY, GREY // 2, GREY // 3])),
        ([GREY], GREY[None]),
        ([np.stack([GREY] * 3, -1)], GREY[None]),
    ],
)
def test_the_data_set_says_how_many_channels_a_picture_has(tmp_path, pictures, expected):
    image = one_case(tmp_path, pictures, len(expected)).load().image
    np.testing.assert_allclose(image, expected / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("pictures", "num_channels", "message"),
    [
        ([COLOUR], 1, "a_0000.png: got 3 channels, dataset.json names 1"),
        ([COLOUR], 2, "imagesTr/a_0001.png: no such file"),
        ([GREY, COLOUR], 2, "got 4 channels, dataset.json names 2"),
        ([GREY], 3, r"a_0000.png: is one grey channel \(mode L\), expected all .* in colour, or"),
        ([paletted(GREY // 2, *[(n, n, n) for n in range(128)])], 3, r"one grey channel \(mode P"),
        ([GREY.astype(np.uint16) * 257], 3, r"is one grey channel \(mode I;16\)"),
    ],
)
def test_pictures_of_other_channels(tmp_path, pictures, num_channels, message):
    with pytest.raises(DataError, match=message):
        one_case(tmp_path, pictures, num_channels).load()


def test_labels_in_colour_are_not_sent_to_options_of_folders(tmp_path):
    labels = Image.fromarray(COLOUR)
    one_case(tmp_path, [GREY], 1)
    labels.save(tmp_path / "labelsTr/a.png")
    with pytest.raises(DataError, match=r"in colour or .*; save it with a grey value for each"):
        open_at(tmp_path).cases[0].load()


def test_files_of_channels_that_are_missing(tmp_path):
    one_case(tmp_path, [GREY, GREY // 2, GREY // 3], 3)
    names = [f"imagesTr/{case}_{n:04d}.png" for case in "ab" for n in (1, 2)]
    for gone in (names[:1], names[:2], names[1:], names[2:]):
        for name in gone:
            (tmp_path / name).rename(tmp_path / "elsewhere")
        with pytest.raises(DataError) as raised:
            open_at(tmp_path)
        assert str(raised.value).splitlines()[1:] == [f"  - {name}: no such file" for name in gone]
        for name in gone:
            Image.fromarray(GREY).save(tmp_path / name)


def test_listed_pictures_of_which_some_are_in_one_file(tmp_path):
    one_case(tmp_path, [COLOUR, GREY, GREY], 3)
    listed = {
        case: {
            "images": [f"imagesTr/{case}_{n:04d}.png" for n in range(3 if case == "a" else 1)],
            "label": f"labelsTr/{case}.png",
        }
        for case in "ab"
    }
    break_json(tmp_path, dataset=listed)
    with pytest.raises(DataError, match=r"b_0000.png: is one picture for all channels, and others"):
        open_at(tmp_path)


def break_json(folder, **changes):
    contents = json.loads((folder / "dataset.json").read_text())
    write_json(folder, **{**contents, **changes})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "dataset.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "dataset.json").write_text("[" * 100_000), "cannot be read as JSON"),
        (lambda f: (f / "dataset.json").write_text("[]"), "expected an object"),
        (lambda f: write_json(f, labels=LABELS), "channel_names is missing"),
        (lambda f: break_json(f, labels=None), "labels is missing"),
        (lambda f: break_json(f, labels={"a": 1, "b": 2}), "labels lacks the background"),
        (lambda f: break_json(f, labels={"background": 0}), "the background alone"),
        (lambda f: break_json(f, labels={**LABELS, "c": 2}), "two labels have the same value"),
        (lambda f: break_json(f, labels={**LABELS, "whole": [0, 1]}), "holds the background"),
        (lambda f: break_json(f, labels={**LABELS, "c": "x1"}), "one whole number per class"),
        (lambda f: break_json(f, file_ending=".mnc"), "file_ending: got '.mnc', expected"),
        (lambda f: (f / "imagesTr/case3_0001.nii.gz").unlink(), "case3_0001.nii.gz: no such file"),
        (lambda f: (f / "labelsTr").rename(f / "labels"), "labelsTr is missing"),
        (lambda f: [p.unlink() for p in (f / "labelsTr").iterdir()], "holds no case with a label"),
    ],
)
def test_descriptions_that_cannot_be_used(nnunet, spoil, message):
    spoil(nnunet)
    with pytest.raises(DataError, match=message):
        open_at(nnunet)


def test_paths_out_of_the_folder_are_not_followed(nnunet):
    write_json(
        nnunet,
        modality={"0": "x"},
        labels={"0": "background", "1": "rim"},
        training=[{"image": "../../etc/passwd", "label": "./labelsTr/case0.nii.gz"}],
    )
    with pytest.raises(DataError, match="is outside of the folder"):
        open_at(nnunet)


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        (
            "labelsTr/case2",
            labels_of(2) + 3,
            "holds the label [345], expected one of 0, 1, 2, by",
        ),
        (
            "labelsTr/case2",
            -labels_of(2).astype(np.int16),
            "holds the label -[12], expected one of 0, 1, 2, by",
        ),
        ("labelsTr/case2", labels_of(2) + 0.5, "no whole numbers"),
        ("labelsTr/case2", labels_of(2)[:4], "have the shapes 4 x 8 x 5, 6 x 8 x 5"),
        ("imagesTr/case2_0001", np.full(SHAPE, np.nan), "infinite or no numbers"),
        ("imagesTr/case2_0001", np.zeros((*SHAPE, 2)), "got 3 channels, dataset.json names 2"),
        ("imagesTr/case2_0001", None, "cannot be read"),
        ("imagesTr/case2_0001", b"", "cannot be read"),
        ("labelsTr/case2", None, "cannot be read"),
    ],
)
def test_every_bad_case_is_listed(nnunet, path, values, message):
    file = nnunet / f"{path}.nii.gz"
    if values is None or isinstance(values, bytes):
        file.write_bytes(file.read_bytes()[:60] if values is None else values)
    else:
        save(values.astype(np.float32), file)
    (nnunet / "labelsTr" / "case4.nii.gz").write_bytes(b"\x1f\x8b\x08 no gzip")
    seen = []
    result = check_cases(open_at(nnunet), lambda: seen.append(1))
    assert len(seen) == 6
    assert len(result.problems) == 2
    import re

    assert re.search(message, result.problems[0])
    assert result.problems[0].startswith("case2: case2")
    assert result.problems[1].startswith("case4: case4.nii.gz")


def test_image_and_labels_have_voxels_of_the_same_size(nnunet):
    save(labels_of(2), nnunet / "labelsTr/case2.nii.gz", spacing=(1, 1, 3))
    problems = check_cases(open_at(nnunet)).problems
    assert problems == [
        "case2: case2.nii.gz: got voxels of 1 x 1 x 3, those of case2_0000.nii.gz have 1 x 1 x 2; "
        "resample the labels onto the image's grid, or, if they were drawn on its voxels, save "
        "them with its affine"
    ]


def tilted(degrees):
    turn = np.eye(4)
    angle = np.deg2rad(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ np.diag([1, 1, 2, 1])


def shifted(*steps):
    affine = np.diag([1.0, 1, 2, 1])
    affine[:3, 3] = steps
    return affine


@pytest.mark.parametrize(
    ("affine", "apart"),
    [
        (
            np.diag([-1, 1, 2, 1]),
            5,
        ),  # its 6 voxels lie from -5 to 0, those of the image from 0 to 5
        (shifted(0, 0, -2), 2),
        (shifted(0.3, 0, 0), 0.3),
        (tilted(5), None),
        (shifted(0.1, 0, 0.1), 0),
        (tilted(0.5), 0),
        (np.diag([1.002, 1, 2, 1]), 0),
    ],
)
def test_image_and_labels_lie_at_the_same_place(nnunet, affine, apart):
    image = nibabel.Nifti1Image(labels_of(2), affine)
    nibabel.save(image, nnunet / "labelsTr/case2.nii.gz")
    problems = check_cases(open_at(nnunet)).problems
    if apart == 0:
        assert not problems
        return
    (problem,) = problems
    how_far = "" if apart is None else f"up to {apart} mm "
    assert problem.startswith(f"case2: case2.nii.gz: its voxels lie {how_far}")
    assert "those of case2_0000.nii.gz, expected the same places; resample" in problem


def test_a_file_that_does_not_say_where_it_lies(nnunet):
    image = nibabel.Nifti1Image(labels_of(2), None)
    image.header.set_zooms((1, 1, 2))
    nibabel.save(image, nnunet / "labelsTr/case2.nii.gz")
    assert not check_cases(open_at(nnunet)).problems


def test_what_a_check_finds(nnunet):
    for name in ("case0", "case1", "case2", "case3"):
        save((labels_of(0) == 1).astype(np.uint8), nnunet / f"labelsTr/{name}.nii.gz")
    save(np.zeros(SHAPE, np.uint8), nnunet / "labelsTr/case5.nii.gz")
    save(np.ones(SHAPE, np.float32), nnunet / "imagesTr/case1_0000.nii.gz")
    save(np.ones(SHAPE, np.float32), nnunet / "imagesTr/case1_0001.nii.gz")
    for path in ("imagesTr/case4_0000", "imagesTr/case4_0001", "labelsTr/case4"):
        file = nnunet / f"{path}.nii.gz"
        values = np.asarray(nibabel.load(file).dataobj)
        save(values, file, (1, 1, 9))
    split = nnunet / "split.json"
    parts = {"train": [f"case{n}" for n in range(4)], "validation": ["case4"], "test": ["case5"]}
    split.write_text(json.dumps(parts))
    result = check_cases(open_at(nnunet, split_file=split))
    assert result.problems == [
        "case1: all its voxels have the same value",
        "no training case has a voxel of the class 'core': it is only in case4 (validation part); "
        "draw another split (data.split_seed), give one (--split), or merge the class with "
        "another, or leave it out, in the labels",
    ]
    assert result.notes == [
        "no foreground in one case: case5",
        "voxels twice or half as large as the median in one case: case4; data.spacing resamples "
        "them",
    ]
    assert result.untested == [
        "no test case has a voxel of any class; split the cases in another way, with --folds or "
        "--split"
    ]
    assert result.voxels.loc["case0", "rim"] == (labels_of(0) == 1).sum()
    assert result.table["part"].tolist() == ["train"] * 4 + ["validation", "test"]


def test_a_class_that_only_a_case_outside_of_training_has(tmp_path):
    """Whichever part it is in, it is named with it, and with what can be done."""
    masks = [disc(number) for number in range(8)]
    masks[5][:4, :4] = 2
    write(tmp_path, masks)
    split = tmp_path / "split.json"
    for part in ("validation", "test", None):
        parts = {"train": ["c0", "c1"], "validation": ["c2"], "test": ["c3"]}
        if part:
            parts[part] = [*parts[part], "c5"]
        split.write_text(json.dumps(parts))
        (problem,) = check_cases(read(tmp_path, split_file=split)).problems
        where = f"it is only in c5 ({part or 'no'} part)"
        assert problem.startswith(f"no training case has a voxel of the class '2': {where}; draw ")
        assert "data.split_seed), give one (--split), or merge the class" in problem
    problems = check_cases(read(tmp_path, folds=4)).problems
    whole = "it is only in c5 (test part); a cross-validation tests each case once: merge the class"
    assert any(whole in problem for problem in problems)


def test_a_class_that_no_case_has(nnunet):
    for number in range(6):
        save((labels_of(number) == 1).astype(np.uint8), nnunet / f"labelsTr/case{number}.nii.gz")
    (problem,) = check_cases(open_at(nnunet)).problems
    assert problem.startswith(
        "no training case has a voxel of the class 'core': it is in no case; merge"
    )


@pytest.mark.parametrize("several", [False, True])
def test_cases_that_a_split_leaves_out_are_named(tmp_path, several):
    write(tmp_path, [disc(number) for number in range(12)])
    split = tmp_path / "split.json"
    parts = [{"train": ["c0", "c1", "c2"], "validation": ["c3"], "test": ["c4", "c5"]}]
    if several:  # what another fold uses is used
        parts.append({"train": ["c0", "c1", "c11"], "validation": ["c3"], "test": ["c6"]})
    split.write_text(json.dumps(parts))
    (note,) = check_cases(read(tmp_path, split_file=split)).notes
    assert note == (
        "4 cases are in no part: c10, c7, c8, c9"
        if several
        else "6 cases are in no part: c10, c11, c6, c7, c8 and 1 more"
    )
    split.write_text(json.dumps({"train": [f"c{n}" for n in range(10)], "test": ["c10"]}))
    (note,) = check_cases(read(tmp_path, split_file=split)).notes
    assert note == "one case is in no part: c11"


def test_a_2d_image_among_stacks(nnunet):
    for path in ("imagesTr/case0_0000", "imagesTr/case0_0001", "labelsTr/case0"):
        file = nnunet / f"{path}.nii.gz"
        save(np.asarray(nibabel.load(file).dataobj)[..., 0], file, (1, 1, 1))
    data = open_at(nnunet, dims=2)
    result = check_cases(data)
    assert result.problems == []
    assert result.notes == ["volumes are cut into slices across their axis to the head"]
    assert result.table["spacing"].tolist() == [(1, 1)] + [(2, 1, 1)] * 5


def test_channels_of_a_single_value(nnunet):
    for name, channels in (("case1", (1, 2)), ("case3", (None, 5))):
        for number, value in enumerate(channels):
            if value is not None:
                image = np.full(SHAPE, value, np.float32)
                save(image, nnunet / f"imagesTr/{name}_000{number}.nii.gz")
    result = check_cases(open_at(nnunet))
    assert result.problems == ["case1: all its voxels have the same value"]
    assert result.notes == ["a channel of a single value in one case: case3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_threshold": 3}, "data.mask_threshold is not for data of this format"),
        ({"scale": 0.5}, "data.scale is not for"),
        ({"group_by": r"patient(\d+)"}, "is not found in 6 of the names of the cases, such as 'ca"),
        ({"group_by": "(case0)|case"}, "first group of .* finds nothing in 5 .* such as 'case1'"),
        ({"group_by": "(x?)"}, "first group of .* finds nothing in 6 of the names"),
        ({"group_by": "(case)"}, "data.group_by: .* finds one patient, 'case', in all 6 cases"),
    ],
)
def test_options_that_do_not_fit(nnunet, options, message):
    with pytest.raises(DataError, match=message):
        open_at(nnunet, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1, 1, 1)}, "data.spacing is not for"),
        ({"dims": 3}, "data.dims is 3, and these are 2D images"),
        ({"mask_classes": {"a": 0, "b": "red"}}, "either grey values or colours"),
        ({"mask_classes": {"a": 0, "b": 0}}, "two classes have the same value"),
        ({"mask_classes": {"a": "black", "b": "rosy"}}, "expected one such as #ff0000"),
    ],
)
def test_options_that_do_not_fit_images(images, options, message):
    with pytest.raises(DataError, match=message):
        open_at(images, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1,)}, "expected 2 or 3 sizes"),
        ({"spacing": (1, 0, 1)}, "expected 2 or 3 sizes"),
        ({"group_by": "x"}, "has no group"),
        ({"group_by": "("}, "is no regular expression"),
        ({"mask_threshold": 1, "mask_classes": {"a": 0, "b": 1}}, "got both"),
        ({"folds": 3, "split_file": "x"}, "got both"),
        ({"split_file": ""}, "got '', expected a path"),
        ({"scale": True}, "got true, expected a number"),
        ({"path": ""}, "got '', expected a path"),
        ({"path": "a\0b"}, r"got 'a\\x00b', expected a path"),
        ({"path": 5}, "got 5, expected a path"),
        ({"path": None}, "got None, expected a path"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**{"path": "x", **options})


@pytest.mark.parametrize("what", ["nowhere", "file", "empty"])
def test_what_is_no_data(tmp_path, what):
    path = tmp_path / what
    if what == "file":
        path.write_text("")
    if what == "empty":
        path.mkdir()
    with pytest.raises(DataError, match=r"is no folder|expected images/ and masks/"):
        open_at(path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("imaging.nii.gz", "segmentation.nii.gz"), r"imagesTr/NAME_0000\.nii\.gz .*dataset\.json"),
        (("anat/T1w.nii.gz", "anat/seg.nii"), r"labelsTr/NAME\.nii\.gz"),
        (("image.png", "mask.png"), r"images/NAME\.png and masks/NAME\.png"),
    ],
)
def test_a_folder_for_each_case(tmp_path, names, said):
    """As KiTS, BIDS and others have it: how to bring it into a form that is read."""
    for case in ("case_0", "case_1"):
        for name in names:
            path = tmp_path / "data" / case / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"A folder for each case is not read: .*{said}"):
        open_at(tmp_path / "data")
    for case in ("case_0", "case_1"):
        for path in (tmp_path / "data" / case).rglob("*.*"):
            path.unlink()
    with pytest.raises(DataError) as caught:
        open_at(tmp_path / "data")
    assert "for each case" not in str(caught.value)


def test_a_folder_that_may_not_be_read(images, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with pytest.raises(DataError, match=r"the data cannot be read: .*name too long"):
        open_at(images / ("a" * 300))
    monkeypatch.setattr(Path, "iterdir", refuse)  # whoever runs the tests may read everything
    with pytest.raises(DataError, match=r"the data cannot be read: .*Permission denied.*polyps"):
        open_at(images)


def test_too_many_values_and_one_alone(images):
    ramp = np.arange(80, dtype=np.uint8).reshape(8, 10)
    for number in range(6):
        Image.fromarray(ramp).save(images / f"masks/{number}.png")
    with pytest.raises(DataError, match="the masks hold 80 values"):
        open_at(images)
    (images / "masks/3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"masks/3.png: is not an image"):
        open_at(images)
