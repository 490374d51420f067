"""What docs/quality.md says that a test holds, a test holds."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_is_there():
    page = (ROOT / "docs" / "quality.md").read_text()
    _, _, statements = page.partition("## Would the comparison of losses survive a statistician?")
    named = set(re.findall(r"`(test_\w+)`", statements))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 15
    assert named <= defined
