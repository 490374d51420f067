import pytest
from typer.testing import CliRunner

from dilated_ce.cli import app, inspect


@pytest.mark.parametrize("max_cases", [None, 2])
def test_bars_count_what_is_done(image_folder, tmp_path, monkeypatch, max_cases):
    """The bar of the measuring counted 20 of 10: all cases, of those for training."""
    bars = {}

    class Counting:
        def __init__(self, console, what, total):
            self.what = what
            bars[what] = [0, total]

        def __enter__(self):
            def one_more():
                bars[self.what][0] += 1

            return one_more

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(inspect_module(), "counting", Counting)
    options = [] if max_cases is None else ["--max-cases", str(max_cases)]
    folder = image_folder(count=8)
    done = CliRunner().invoke(
        app, ["inspect", str(folder), "--out", str(tmp_path / "out"), "--radii", "0,2", *options]
    )
    assert done.exit_code == 0, done.output
    assert len(bars) == 2
    assert all(counted == total > 0 for counted, total in bars.values())


def inspect_module():
    """The module: its function has taken its name in the package."""
    import sys

    assert callable(inspect)
    return sys.modules["dilated_ce.cli.inspect"]
