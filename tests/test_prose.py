"""The intervals in the sentences of the pages are those of the tables, which are generated."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("docs/results.md", "README.md", "docs/how-to/which-loss.md")
NUMBER = r"[-+]?\d+(?:\.\d+)?"
IN_TABLE = re.compile(rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)")
# The number that an interval belongs to stands before it, with a word such as "points" between.
IN_PROSE = re.compile(rf"(?:({NUMBER})[^.;()\d]*?)?[(,] ?({NUMBER}) to ({NUMBER})\)")


@pytest.fixture(scope="module")
def generated():
    """Every difference with its interval in a table, and those that the pages leave out."""
    rows = [
        line
        for page in PAGES
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    shown = {tuple(map(float, found)) for found in IN_TABLE.findall("\n".join(rows))}
    table = pd.read_csv(ROOT / "results" / "evidence" / "by_set.csv")
    columns = ["difference", "plain_low", "plain_high"]
    plain = 100 * table.loc[table["score"] == "dice", columns]
    return shown | set(plain.itertuples(index=False, name=None))


def unfounded(text, generated):
    """The intervals in the sentences of a page that no table has, with either sign."""
    sentences = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    found = list(IN_PROSE.finditer(sentences))
    wrong = [match[0] for match in found if not any(map(says(*match.groups()), generated))]
    return len(found), wrong


def says(middle, low, high):
    """Whether a difference with its interval is what was written, to the digits that were."""

    def near(written, value):
        step = 0.5001 * 10.0 ** -len(written.partition(".")[2])
        return abs(float(written) - value) <= step

    def compare(known):
        for sign in (1, -1):
            ends = sorted((sign * known[1], sign * known[2]))
            # The sign of the middle is often in the words: "less", "farther".
            if near(low, ends[0]) and near(high, ends[1]) and (
                middle is None or near(middle.lstrip("+-"), abs(known[0]))
            ):  # fmt: skip
                return True
        return False

    return compare


@pytest.mark.parametrize(("page", "at_least"), list(zip(PAGES, (50, 3, 6), strict=True)))
def test_every_interval_in_a_sentence_stands_in_a_table(page, at_least, generated):
    number, wrong = unfounded((ROOT / page).read_text(encoding="utf-8"), generated)
    assert wrong == []
    assert number >= at_least  # the pattern still finds them


def test_a_wrong_number_is_found(generated):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert unfounded(text.replace("(-1.4 to +4.9)", "(-1.4 to +4.8)"), generated)[1]
    assert unfounded("It is better by 9.9 points (2.7 to 16.0).", generated)[1]
    assert not unfounded("It is worse by 9.3 points (2.7 to 16.0).", generated)[1]
