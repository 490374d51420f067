import errno
import functools
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import rich.console
import typer
from typer.main import get_command
from typer.testing import CliRunner

import dilated_ce
from dilated_ce import cli
from dilated_ce.__main__ import main
from dilated_ce.cli.console import console
from dilated_ce.cli.demo import _default_folder
from dilated_ce.cli.endings import one_error
from dilated_ce.cli.options import complete_losses
from dilated_ce.study.data import stare
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.training.losses import LOSSES
from dilated_ce.study.training.settings import TrainingConfig


@pytest.fixture
def run(monkeypatch):
    """Call the command line in this process: exit code and what it printed, without line breaks."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        done = CliRunner().invoke(cli.app, list(map(str, arguments)))
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", done.output)
        return done.exit_code, re.sub(r"\s+", " ", plain)

    return call


@pytest.mark.parametrize("missing", ["typer", "pydantic"])
def test_without_its_libraries_the_command_says_how_to_run_it(missing, tmp_path):
    """Before anything is read: with `pipx run`, say, which installs no extras by itself."""
    code = f"""
import sys
sys.modules[{missing!r}] = None  # as if it were not installed
sys.argv = ["dilated-ce", "inspect", "my data"]
from dilated_ce.__main__ import main
main()
"""
    (tmp_path / "my data").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    first, *commands = done.stderr.splitlines()
    assert first.startswith(f"dilated-ce: the module '{missing}' is missing.")
    assert commands == [
        "  pip install 'dilated-ce[study]'",
        "  pipx run --spec 'dilated-ce[study]' dilated-ce inspect 'my data'",
    ]


TINY = ("demo", "--synthetic", "--losses", "ce,dbce:radius=1", "--steps", 1, "--seeds", 1)


def test_help_lists_commands_and_options(run):
    code, text = run("--help")
    assert code == 0
    assert "demo" in text
    code, text = run("demo", "--help")
    assert code == 0
    for option in ("--data", "--synthetic", "--losses", "--seeds", "--steps", "--out", "--fresh"):
        assert option in text


@pytest.mark.parametrize("command", [(), ("compare",), ("demo",), ("inspect",), ("nnunet-path",)])
def test_help_has_a_short_name(run, command):
    code, text = run(*command, "-h")
    assert code == 0
    assert "Usage" in text


def test_help_is_quick_to_come():
    """It loads neither torch nor the networks nor the plots."""
    slow = ("torch", "numpy", "monai", "lightning", "matplotlib", "pandas")
    code = f"import sys, dilated_ce.cli; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["typer", "monai"])
def test_without_the_extra_it_says_what_to_install(missing, tmp_path):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"sys.argv = ['dilated-ce', 'demo', '--synthetic', '--out', {str(tmp_path)!r}]\n"
        "from dilated_ce.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"the module '{missing}" in done.stderr
    assert "pip install 'dilated-ce[study]'" in done.stderr


def test_version(run):
    assert run("--version") == (0, f"{dilated_ce.__version__} ")


def test_the_shell_completes_commands_and_options():
    def complete(words):
        done = subprocess.run(
            [Path(sys.executable).with_name("dilated-ce")],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "_DILATED_CE_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
        )
        return done.stdout.split()

    assert complete("dilated-ce de") == ["demo"]
    assert complete("dilated-ce compare --network d") == ["dynunet"]
    assert complete("dilated-ce compare --losses ce,ba") == ["ce,balanced-ce"]
    assert complete("dilated-ce demo --se") == ["--seeds"]


def test_the_shell_offers_every_loss_and_every_value_of_a_choice():
    offered = complete_losses("ce,")
    assert {text.removeprefix("ce,").partition(":")[0] for text in offered} == set(LOSSES)
    options = {p.name: p for p in get_command(cli.app).commands["compare"].params}
    *networks, smp = (item.value for item in options["network"].shell_complete(None, ""))
    assert smp == "smp:"
    assert [TrainingConfig(network=name).network for name in networks] == networks
    for name, config in (
        ("precision", TrainingConfig),
        ("device", TrainingConfig),
        ("engine", ExecutionConfig),
    ):
        values = config.model_fields[name].annotation.__args__
        offered = options[name].shell_complete(None, "")
        assert tuple(item.value for item in offered) == values


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--losses", "vocal"], "Invalid value for --losses: unknown loss 'vocal'; expected one"),
        (["--losses", "dbce:radius=wide"], "got 'radius=wide', expected a number"),
        (["--losses", "dbce:radius=-1"], "got -1.0, expected >= 0"),
        (["--losses", ""], "the list of losses is empty"),
        (["--seeds", "0"], "--seeds"),
        (["--steps", "none"], "--steps"),
        (["--scale", "0"], "Invalid value for --scale: got 0, expected more than 0"),
        (["--synthetic", "--scale", "0.5"], "synthetic images are not resized"),
        (["--synthetic", "--data", "."], "expected one of --data and --synthetic, got both"),
        (["--step", "3"], "--step"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_wrong_options_are_usage_errors(run, arguments, message):
    code, text = run("demo", *arguments)
    assert code == 2
    assert message in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "--data", ""),
        ("compare", "--data", ".", "--out", ""),
        ("compare", "--data", ".", "--split", ""),
        ("demo", "--data", ""),
        ("demo", "--out", ""),
        ("inspect", ""),
        ("inspect", ".", "--out", ""),
    ],
)
def test_an_empty_path_is_none(run, arguments):
    code, text = run(*arguments)
    assert code == 2
    assert "got nothing, expected a path" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: data.path is missing; name a folder of data (--data)."),
        (("--set", "data=5"), "data: got 5. Input should be a valid dictionary"),
        (("--set", "data.path=5"), "data.path: got 5, expected a path"),
        (("--set", "data.path=[a]"), "data.path: got ['a'], expected a path"),
        (("--set", 'data.path="a\\0b"'), "data.path: got 'a\\x00b', expected a path"),
        (("--data", "loop"), "loop is no folder."),
        (("--data", "no", "--mask-classes", "a=0,b=" + "9" * 5000), "no is no folder."),
        (("--data", "no", "--mask-classes", "a=0,b=²"), "no is no folder."),
    ],
)
def test_paths_and_digits_that_are_none(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    code, text = run("compare", *arguments)
    assert code == 1
    assert message in text
    assert "out: is missing" not in text


@pytest.mark.parametrize("command", [("demo", "--data"), ("inspect",)])
@pytest.mark.parametrize(("name", "message"), [("loop", "is no folder"), ("a" * 300, "too long")])
def test_folders_that_the_system_does_not_take(run, tmp_path, monkeypatch, command, name, message):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    code, text = run(*command, name, "--out", "out")
    assert code == 1
    assert message in text
    assert "Is there room" not in text


def test_an_interruption_is_told_in_a_line(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "dilated-ce: interrupted.\n"


def test_letters_that_the_terminal_lacks_are_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(cli, "app", lambda: console.print("漢字"))
    main()
    sys.stdout.flush()
    assert written.getvalue() == b"\\u6f22\\u5b57\n"


@pytest.mark.skipif(
    not hasattr(rich.console.Console, "on_broken_pipe"), reason="an old rich raises the error"
)
def test_it_goes_on_when_nobody_reads(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(console, "quiet", False)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        console.print("nobody reads this")
        console.print("nor this")
    assert console.quiet


@pytest.mark.parametrize(
    ("error", "room"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EACCES, "Permission denied", "some/out/a/b"), True),
        (OSError(errno.EACCES, "Permission denied", "some"), True),
        (OSError(errno.EACCES, "Permission denied", "elsewhere"), False),
        (OSError(errno.EMFILE, "Too many open files", "some/out/a"), False),
    ],
)
def test_room_is_asked_for_where_it_may_be_the_cause(capsys, error, room):
    with pytest.raises(typer.Exit), one_error(Path("some/out")):
        raise error
    text = " ".join(capsys.readouterr().err.split())
    assert error.strerror in text
    assert ("Is there room in some/out, and may you write there?" in text) == room


def test_a_demo_from_start_to_end_and_again(run, tmp_path):
    code, text = run(*TINY, "--out", tmp_path)
    assert code == 0
    assert "synthetic discs: 20 cases, 10 for training, 10 for test" in text
    assert "2/2 DBCE (R = 1), seed 0, fold 0: Dice" in text
    assert "DBCE (R = 1) beside CE: 10 test cases can't carry a verdict" in text
    assert len(pd.read_csv(tmp_path / "cases.csv")) == 2 * 10
    assert (tmp_path / "report.html").stat().st_size > 10_000
    code, text = run(*TINY, "--out", tmp_path)
    assert code == 0
    assert text.count("kept from an earlier time") == 2


def test_missing_data_is_named(run, tmp_path):
    code, text = run("demo", "--data", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere is no folder" in text


def test_without_a_network_it_names_the_options_and_trains_nothing(run, monkeypatch, tmp_path):
    def no_network(*args, **options):
        raise DataError("the archive could not be fetched from http://...: no route to host")

    monkeypatch.setattr(stare, "open_stare", no_network)
    code, text = run("demo", "--out", tmp_path / "out")
    assert code == 1
    assert "no route to host" in text
    assert "--data DIR" in text
    assert "--synthetic" in text
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interruption_keeps_what_is_finished(run, tmp_path, sent, code):
    # Runs of some seconds, so that the signal surely meets the second one.
    options = ("--steps", 25, "--seeds", 1, "--out", tmp_path)
    command = [sys.executable, "-m", "dilated_ce", *TINY[:4], *options]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # other tests run beside it
        # Where the tests run in the background, Ctrl-C is ignored by all they start.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while not process.stdout.readline().lstrip().startswith("1/2"):
            assert process.poll() is None
        time.sleep(0.5)  # into the second run
        process.send_signal(sent)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == code
    if sent == signal.SIGINT:
        assert "Interrupted. What is finished is kept in" in " ".join(printed.split())
    assert not (tmp_path / "cases.csv").exists()
    code, text = run("demo", "--synthetic", "--losses", "ce", *options)
    assert code == 0
    assert text.count("kept from an earlier time") == 1


def test_a_folder_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, text = run(*TINY, "--out", tmp_path / "file")
    assert code == 1
    assert "file cannot be written to" in text


def test_a_folder_with_another_study_is_left_alone(run, image_folder, tmp_path):
    assert run(*TINY, "--out", tmp_path / "out")[0] == 0
    report = (tmp_path / "out" / "report.html").read_bytes()
    code, text = run("demo", "--data", image_folder(), "--out", tmp_path / "out")
    assert code == 1
    assert "holds a study of other data (synthetic discs)" in text
    assert (tmp_path / "out" / "report.html").read_bytes() == report


def test_names_with_markup_are_printed_as_they_are(run, tmp_path):
    code, text = run(*TINY, "--out", tmp_path / "a[/x] [bold]b")
    assert code == 0
    assert "a[/x] [bold]b/report.html" in text


@pytest.mark.parametrize(
    ("data", "synthetic", "expected"),
    [
        (None, False, "runs/demo"),
        (None, True, "runs/demo-synthetic"),
        (Path("/data/polyps"), False, "runs/demo-polyps"),
    ],
)
def test_each_data_set_has_a_folder_of_its_own(data, synthetic, expected):
    assert _default_folder(data, synthetic) == Path(expected)
