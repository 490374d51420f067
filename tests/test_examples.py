"""The examples and the code in README run as they stand."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser

from dilated_ce.integrations.monai import DilatedBalancedDiceCELoss
from dilated_ce.study.training.loss_spec import parse_loss

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


def test_lesions_have_the_same_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    labels = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    labels[0, 0, 2:10, 2:10] = 1  # 64 voxels
    labels[0, 0, 15:17, 15:17] = 1  # 4 voxels
    labels[0, 0, 10, 10] = 2  # another class, though it touches the first
    logits = torch.randn(1, 3, 20, 20, generator=torch.manual_seed(0))
    inverse = parse_loss("blob_losses:InverseCE").build()
    by_voxel = F.cross_entropy(logits, labels[:, 0].long(), reduction="none")[0]
    parts = [labels[0, 0] == 0, *(torch.zeros(20, 20, dtype=torch.bool) for _ in range(3))]
    parts[1][2:10, 2:10] = parts[2][15:17, 15:17] = parts[3][10, 10] = True
    expected = torch.stack([by_voxel[part].mean() for part in parts]).mean()
    torch.testing.assert_close(inverse(logits, labels), expected)

    blobs = parse_loss("blob_losses:BlobLoss:whole=0").build()
    losses = []
    for lesion, index in ((parts[1], 1), (parts[2], 1), (parts[3], 2)):
        others = sum(part for part in parts[1:] if part is not lesion) * (labels[0, 0] == index)
        found = logits.softmax(1)[0, index][others == 0]
        truth = lesion[others == 0].float()
        dice = 1 - 2 * (found * truth).sum() / (found.sum() + truth.sum())
        losses.append(dice + F.binary_cross_entropy(found, truth))
    torch.testing.assert_close(blobs(logits, labels), torch.stack(losses).mean())
    for name in ("blob_losses:InverseCE", "blob_losses:BlobLoss"):
        leaf = logits.clone().requires_grad_()
        parse_loss(name).build()(leaf, torch.zeros_like(labels)).backward()
        assert leaf.grad.isfinite().all()


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
