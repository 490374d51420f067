"""The examples and the code in README run as they stand."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from dilated_ce.integrations.monai import DilatedBalancedDiceCELoss

ROOT = Path(__file__).parents[1]


def test_plain_pytorch_learns():
    train = runpy.run_path(str(ROOT / "examples" / "plain_pytorch.py"))["train"]
    losses = train(steps=40)
    assert losses[-1] < 0.6 * losses[0]


def run(*arguments):
    """What the example prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT / "examples",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers_in(line):
    return [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?", line)]


def test_plain_pytorch_runs_as_a_script():
    assert run("plain_pytorch.py")


def test_accumulation_is_exact_by_the_data_set_alone():
    by_batch, by_data_set = run("gradient_accumulation.py").splitlines()[-2:]
    assert numbers_in(by_batch)[-1] > 1e-3
    assert numbers_in(by_data_set)[-1] < 1e-10


def test_two_processes_have_the_gradient_of_one_with_a_group_alone():
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    shared, alone = run(*launch, "torchrun_ddp.py").splitlines()
    assert numbers_in(shared)[-1] < 1e-6
    assert numbers_in(alone)[-1] > 1e-3


def test_lightning_learns_with_two_processes():
    lines = [line for line in run("lightning_ddp.py").splitlines() if line.startswith("epoch")]
    assert all("2 processes" in line for line in lines)
    assert numbers_in(lines[-1])[-1] < 0.7 * numbers_in(lines[0])[-1]


def test_smp_learns_in_every_mode():
    _, *lines = run("smp.py").splitlines()
    assert [line.split(":")[0] for line in lines] == ["binary", "multiclass", "multilabel"]
    for start, end in map(numbers_in, lines):
        assert end < 0.6 * start


def test_monai_learns_in_every_way():
    lines = [line for line in run("monai_training.py").splitlines() if line.startswith("  loss")]
    assert len(lines) == 4
    for start, end in map(numbers_in, lines):
        assert end < 0.7 * start


def test_the_parts_of_the_bundle_train():
    # Without its trainer, which needs pytorch-ignite.
    parser = ConfigParser()
    parser.read_config(ROOT / "examples" / "monai_bundle.yaml")
    parser["initialize"] = []
    network, criterion, optimizer, loader = (
        parser.get_parsed_content(name)
        for name in (
            "network",
            "train#loss_function",
            "train#optimizer",
            "train#data_loader",
        )
    )
    assert isinstance(criterion, DilatedBalancedDiceCELoss)
    losses = []
    for _ in range(10):
        for batch in loader:
            optimizer.zero_grad()
            loss = criterion(network(batch["image"]), batch["label"])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_code_in_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("page", ["readme", "results", "quality"])
def test_pages_say_what_the_results_hold(page):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / f"update_{page}.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
