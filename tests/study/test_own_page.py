"""The loss and the network of the page about one's own train in a comparison."""

import re
import sys
from pathlib import Path

from toy import make_dataset

from dilated_ce.study import api
from dilated_ce.study.settings.compare import CompareConfig

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own.md"


def test_they_train_and_are_short(tmp_path, monkeypatch):
    loss, network = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, code in (("my_loss", loss), ("my_network", network)):
        assert len(code.splitlines()) <= 20
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    config = CompareConfig(
        losses=["ce", "my_loss:PolyLoss:epsilon=2"],
        seeds=1,
        training={"network": "my_network:make:width=4", "patch_size": 16, "steps": 2},
        statistics={"resamples": 200},
        out=tmp_path / "out",
    )
    results = api.compare(config, lambda *_: make_dataset())
    assert not results.failures
    plain, poly = (run.losses["loss"] for run in results.runs)
    assert plain[0] == poly[0]  # before its term has grown
    assert plain[1] < poly[1]
    for name in ("my_loss", "my_network"):
        sys.modules.pop(name)
