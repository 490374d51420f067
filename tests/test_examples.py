"""The examples and the code in README run as they stand."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_plain_pytorch_learns():
    train = runpy.run_path(str(ROOT / "examples" / "plain_pytorch.py"))["train"]
    losses = train(steps=40)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_example_runs_as_a_script(path):
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_code_in_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_readme_says_what_the_results_hold():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "update_readme.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
