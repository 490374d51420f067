"""The pages say what is so: their code runs, and what they name exists."""

import re
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser
from typer.main import get_command

from dilated_ce import cli
from dilated_ce.integrations import monai, nnunet

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name
)
def test_the_code_of_a_page_runs_in_order(page):
    code = blocks(page, "python")
    assert code
    namespace = {"__name__": "page"}
    for block in code:
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_links_lead_to_files(text):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text.read_text())
    assert [link for link in links if not (text.parent / link).exists()] == []


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "how-to" / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index] == ["README.md"]


def test_the_configurations_on_the_monai_page_make_the_loss():
    bundle, auto3dseg = (
        ConfigParser(yaml.safe_load(block)).get_parsed_content("loss")
        for block in blocks(ROOT / "docs" / "how-to" / "monai.md", "yaml")
    )
    assert isinstance(bundle, monai.DilatedBalancedDiceCELoss)
    assert bundle.cross_entropy.radius == 3
    assert isinstance(auto3dseg, monai.DilatedBalancedDiceCELoss)
    assert auto3dseg.cross_entropy.roi_size == (224, 224, 144)


def test_the_trainers_and_commands_that_pages_name_exist():
    text = "".join(path.read_text() for path in TEXTS)
    trainers = set(re.findall(r"nnUNetTrainerDBCE\w*(?:\.\d+mm)?", text))
    assert len(trainers) > 3
    for name in trainers:
        assert issubclass(getattr(nnunet, name), nnunet.nnUNetTrainerDBCE)
    commands = set(re.findall(r"dilated-ce ([a-z][a-z-]+)", text))
    assert "nnunet-path" in commands
    assert commands <= set(get_command(cli.app).commands)
