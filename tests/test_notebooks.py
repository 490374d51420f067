"""The notebooks run from top to bottom, and are stored as nobody has run them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_they_are_stored_without_outputs():
    assert len(NOTEBOOKS) >= 1
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code), path.name
        assert set(notebook.metadata) == {"kernelspec", "language_info"}, path.name


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    pages = [out["data"]["text/html"] for out in shown if "text/html" in out.get("data", {})]
    [link] = [page for page in pages if "report.html" in page and "<ul>" in page]
    said = "".join(out.get("text", "") for out in shown) + str([o.get("data") for o in shown])
    assert list(tmp_path.rglob("report.html"))
    assert "Traceback" not in said
    assert "Dice" in link
    assert not any(out.get("name") == "stderr" and "Warning" in out["text"] for out in shown)
