"""The pages say what is so: their code runs, and what they name exists."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from typer.main import get_command

from dilated_ce import adaptive_dilated_cross_entropy as adaptive
from dilated_ce import cli, dilated_balanced_cross_entropy
from dilated_ce.integrations import monai, nnunet
from dilated_ce.study.settings.file import build_config, build_nnunet_config
from dilated_ce.study.training.loss_spec import parse_losses

ROOT = Path(__file__).parents[1]
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *HOW_TO, ROOT / "README.md"]
APART = [ROOT / "contrib" / "monai" / "README.md", ROOT / "packaging" / "README.md"]
TEXTS = [*PAGES, *APART, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def test_every_page_starts_with_code():
    late = [page.name for page in HOW_TO if "\n```" not in page.read_text()[:700]]
    assert late == ["README.md"]  # an index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs_in_order(page):
    code = blocks(page, "python")
    namespace = {"__name__": "page"}
    for block in code:
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(text):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text.read_text())
    assert [link for link in links if not (text.parent / link).exists()] == []


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "how-to" / "README.md").read_text()
    assert [page.name for page in HOW_TO if f"({page.name})" not in index] == ["README.md"]


def test_the_configurations_on_the_monai_page_make_the_loss():
    bundle, auto3dseg = (
        ConfigParser(yaml.safe_load(block)).get_parsed_content("loss")
        for block in blocks(ROOT / "docs" / "how-to" / "monai.md", "yaml")
    )
    assert isinstance(bundle, monai.DilatedBalancedDiceCELoss)
    assert bundle.cross_entropy.radius == 8
    assert isinstance(auto3dseg, monai.AdaptiveDilatedDiceCELoss)
    assert auto3dseg.cross_entropy.roi_size == (224, 224, 144)


def test_the_trainers_and_commands_that_pages_name_exist():
    # The changelog has the old names, too.
    text = "".join(path.read_text() for path in TEXTS if path.name != "CHANGELOG.md")
    trainers = {
        name.split("__")[0]
        for name in re.findall(r"nnUNetTrainer(?:Adaptive)?DBCE\w*(?:\.\d+mm)?", text)
    }
    assert len(trainers) > 5
    for name in trainers:
        assert issubclass(getattr(nnunet, name), nnunet.DilatedMixin)
    commands = set(re.findall(r"dilated-ce ([a-z][a-z-]+)", text))
    assert "nnunet-path" in commands
    assert commands <= set(get_command(cli.app).commands)


def test_the_settings_on_the_page_of_compare_are_settings():
    (block,) = blocks(ROOT / "docs" / "how-to" / "compare.md", "yaml")
    config = build_config(yaml.safe_load(block))
    assert str(config.reference) == "dice-ce"
    assert config.training.network == "dynunet"


def test_the_settings_on_the_page_of_nnunet_are_settings():
    (block,) = blocks(ROOT / "docs" / "how-to" / "nnunet.md", "yaml")
    config = build_nnunet_config(yaml.safe_load(block))
    assert config.nnunet.folds == (0, 1)
    assert str(config.reference) == "dice-ce"


def test_the_options_that_the_pages_name_exist():
    commands = get_command(cli.app).commands
    known = {option for command in commands.values() for p in command.params for option in p.opts}
    lines = "\n".join(page.read_text() for page in PAGES).splitlines()
    of_other_programs = re.compile(
        r"pip|sbatch|tensorboard|torchrun|nnUNet|monai\.bundle|chromium|--c |--val "
    )
    ours = [line for line in lines if not of_other_programs.search(line)]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(ours)))
    assert len(named) > 10
    assert named <= known | {"--help", "--only"}  # the latter of `make fuzz`


def test_the_settings_that_pages_name_as_losses_are_losses():
    text = "\n".join(page.read_text() for page in PAGES)
    lists = re.findall(r"--losses (?:'|\")?([a-z][^ '\"`\n]+)", text)
    assert len(lists) > 3
    for losses in lists:  # without those of the reader's own
        assert parse_losses(",".join(x for x in losses.split(",") if not x.startswith("my_")))


PROBLEMS = ROOT / "docs" / "how-to" / "problems.md"


def messages(heading):
    """What the first column of the table below a heading of the page of problems quotes."""
    (section,) = re.findall(rf"## {heading}\n(.*?)(?=\n## |\Z)", PROBLEMS.read_text(), re.DOTALL)
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_the_errors_of_the_loss_that_the_page_of_problems_quotes_are_real():
    logits, labels = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64).long()
    volume = torch.randn(1, 2, 8, 8, 8), torch.zeros(1, 8, 8, 8).long()
    wrong = [
        lambda: adaptive(logits, labels + 255),
        lambda: adaptive(logits, labels + torch.tensor([3, 4])[:, None, None]),
        lambda: adaptive(logits[..., :32], labels),
        lambda: adaptive(logits, torch.ones(2, 3, 64, 64)),
        lambda: adaptive(logits[:, :1], labels),
        lambda: dilated_balanced_cross_entropy(logits, labels, torch.ones(3)),
        lambda: adaptive(*volume, spacing=(3.0, 0.8)),
        lambda: adaptive(logits, labels, process_group="all"),
    ]
    quoted = messages("Errors of the loss")
    assert len(quoted) == len(wrong)
    for message, call in zip(quoted, wrong, strict=True):
        with pytest.raises((ValueError, TypeError), match=re.escape(message)):
            call()


def test_the_messages_that_the_page_of_problems_quotes_are_in_the_code():
    code = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
                code.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                code.append(node.value)
    text = "\n".join(code)
    quoted = [*messages("Data that are refused"), *messages("Reports")]
    quoted += re.findall(r"^\*\*`([^`]+)`\.\*\*", PROBLEMS.read_text(), re.MULTILINE)
    assert len(quoted) > 12
    assert [message for message in quoted if message not in text] == []


def test_the_coverage_that_the_page_states_is_that_of_the_file():
    table = pd.read_csv(ROOT / "results" / "statistics" / "coverage.csv")
    plain = table[table["tail"].isna()]["coverage"]
    tails = table[table["tail"].notna() & (table["groups"] >= 30)]
    assert plain.min() >= 0.93
    assert tails["coverage"].min() >= 0.9
    text = " ".join((ROOT / "docs" / "how-to" / "compare.md").read_text().split())
    assert f"without them in {_range(plain)} of 100 studies" in text
    assert f"from 30 patients on in {_range(tails['coverage'])}" in text
    assert f"alone in {_range(tails['without_allowance'])}" in text


def test_the_wrong_words_that_the_page_states_are_those_of_the_file():
    table = pd.read_csv(ROOT / "results" / "statistics" / "family.csv")
    assert (table["wrong_word"] * table["studies"]).sum() / table["studies"].sum() <= 0.05


def _range(shares):
    return f"{100 * shares.min():.0f} to {100 * shares.max():.0f}"
