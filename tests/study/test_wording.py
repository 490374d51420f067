import pytest

from dilated_ce.study.wording import count, listing, some


@pytest.mark.parametrize(("number", "words"), [(0, "0 seeds"), (1, "one seed"), (2, "2 seeds")])
def test_a_number_with_its_noun(number, words):
    assert count(number, "seed") == words


def test_long_lists_are_cut():
    names = [f"n{number}" for number in range(500)]
    assert some(names[:2]) == "n0, n1"
    assert some(names) == "n0, n1, n2, n3, n4 and 495 more"
    assert listing("these", names[:2]) == "these:\n  - n0\n  - n1"
    assert listing("these", names).splitlines()[-1] == "  - ... and 480 more"
    assert len(listing("these", names).splitlines()) == 22
