import pytest

from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.settings.file import build_config, read_settings
from dilated_ce.study.training.settings import TrainingConfig

GOOD = """\
data:
  path: somewhere
losses: [ce, "dbce:radius=2"]
training:
  steps: 10
out: there
"""


def build(tmp_path, text):
    path = tmp_path / "compare.yaml"
    path.write_text(text)
    return build_config(read_settings(path), path)


def test_a_file_of_settings(tmp_path):
    config = build(tmp_path, GOOD)
    assert [loss.title for loss in config.losses] == ["CE", "DBCE (R = 2)"]
    assert config.training.steps == 10
    assert CompareConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("steps: 10", "steps: many", ["line 5: training.steps: got 'many'. Input should be a val"]),
        ("steps: 10", "steps: 0", ["line 5: training.steps: got 0. Input should be greater"]),
        (
            "steps: 10",
            "stepps: 1",
            ["line 5: training.stepps: is no setting; expected", "channels"],
        ),
        ("steps: 10", "patch_size: 12", ["line 4: training: patch_size: got 12, expected a mult"]),
        ("steps: 10", "network: unest", ["line 5: training.network: got 'unest', expected a net"]),
        ("steps: 10", "channels: [4]", ["line 5: training.channels"]),
        (
            "  steps: 10\n",
            "  steps: 0\n  seed: 3\n",
            ["line 5: training.steps", "line 6: training.seed"],
        ),
        ("dbce:radius=2", "dbce:radus=2", ["line 3: losses.1: loss 'dbce': got 'radus=2'"]),
        ("dbce:radius=2", "ce", ["line 3: losses: ce is given twice"]),
        ('"dbce:radius=2"', "3", ["line 3: losses.1: got 3, expected text"]),
        (
            "  path: somewhere",
            "  foo: 1",
            ["data.path: is missing", "line 2: data.foo: is no setting"],
        ),
        ("out: there", "seeds: -1", ["out: is missing", "line 6: seeds: got -1"]),
        ("out: there", "out: a\nstatistics: {reference: dice}", ["got dice, expected one of the"]),
        ("out: there", "out: a\ntune: {factors: [1]}", ["line 7: tune.factors"]),
        *(
            ("out: there", f"out: a\ntune: {{factors: {factors}}}", ["above 0, at most 1e4"])
            for factors in ("[-1, 1]", "[0, 1]", "[1, 1]", "[1e-300, 1e300]")
        ),
        *(
            (
                "steps: 10",
                f"channels: {channels}",
                ["line 5: training.channels: got [", "1 to 4096"],
            )
            for channels in ("[4, -8]", "[16, 0]", "[0, 4]", "[1000000000, 2]")
        ),
        ("steps: 10", f"channels: {[4] * 11}", ["at most 10 items"]),
        ("steps: 10", "channels: [true, 4]", ["channels.0: got True"]),
        (
            "steps: 10",
            "network: segresnet\n  channels: [4, 9]",
            ["channels: got [4, 9], expected [4, 8], as segresnet doubles them"],
        ),
        ("steps: 10", "threads: 1000000", ["less than or equal to 1024"]),
        ("steps: 10", "learning_rate: 1.0e+300", ["less than or equal to 1000"]),
        ("steps: 10", "steps: true", ["line 5: training.steps: got true, expected a number"]),
        ("out: there", 'out: ""', ["line 6: out: got '', expected a path"]),
        (
            "out: there",
            "out: a\nexecution: {engine: dask}",
            ["line 7: execution.engine: got 'd"],
        ),
    ],
)
def test_mistakes_are_named_with_their_lines(tmp_path, old, new, messages):
    with pytest.raises(SettingsError) as caught:
        build(tmp_path, GOOD.replace(old, new))
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses: [ce", "line 1: is no YAML"),
        ("a: 1\n\tb: 2", "line 2: is no YAML"),
        ("just text", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: &x 1\nb: *x", "aliases"),
        ("[" * 5000, "is no YAML"),
        ("a: !!python/object:os.system x", "is no YAML"),
    ],
)
def test_what_is_no_file_of_settings(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        build(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "nowhere.yaml")
    with pytest.raises(SettingsError, match="is a folder; for data write --data"):
        read_settings(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("losses", "reference"),
    [
        (["dbce:radius=1", "ce", "dice-ce"], "dice-ce"),
        (["dbce:radius=1", "ce"], "ce"),
        (["dbce:radius=1", "dice"], "dbce:radius=1"),
    ],
)
def test_the_reference_by_default(losses, reference):
    config = build_config({"data": {"path": "x"}, "losses": losses, "out": "y"})
    assert str(config.reference) == reference
    given = build_config(
        {
            "data": {"path": "x"},
            "losses": losses,
            "out": "y",
            "statistics": {"reference": losses[0]},
        }
    )
    assert str(given.reference) == losses[0]


def test_batches_divide_among_devices():
    with pytest.raises(ValueError, match="batch_size: got 3, expected a multiple of devices, 2"):
        TrainingConfig(batch_size=3, devices=2)
