"""Which cases are of one patient, by their names."""

import re
from collections import Counter
from collections.abc import Sequence

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.wording import some

# What a case is called beside a namesake in another part.
PREFIX = re.compile(r"(?:train|validation|test)/")
# The last number of a name, or a side such as L, and what joins it to the rest.
LAST = re.compile(r"(?:[_. -]*\d+|(?:(?<=\d)|[_. -]+)(?i:l|r|left|right|od|os))$")
FEWEST_STEMS = 4  # of names whose beginning has no number, such as benign_1 and malignant_1
# Regular expressions for patients, the simplest first.
PATTERNS = (
    r"^([^_]+)_",
    r"^([^-]+)-",
    r"^(\D*\d+)",
    r"^(.*)[_-]",
    r"^(.*\D)\d+$",
    r"^(.*\d)(?:[_. -]*(?i:l|r|left|right|od|os))$",
    rf"^(.+?)(?:{LAST.pattern}|$)",
)


def own_name(name: str) -> str:
    """The name of a case's file, without the part that tells it apart from a namesake.

    Examples:
        >>> own_name("train/p01_1"), own_name("p01_2")
        ('p01_1', 'p01_2')
    """
    return PREFIX.sub("", name, count=1) if PREFIX.match(name) else name


def find_groups(names: Sequence[str], pattern: str | None) -> dict[str, str]:
    r"""The group of each case: what the pattern finds in the name of its file, or the case's name.

    Raises:
        DataError: the pattern finds nothing in a name, or the same in all.

    Examples:
        >>> find_groups(["train/p01_1", "test/p01_1", "p02_1"], r"^(p\d+)")
        {'train/p01_1': 'p01', 'test/p01_1': 'p01', 'p02_1': 'p02'}
    """
    if pattern is None:
        return {name: name for name in names}
    found = {name: re.search(pattern, own_name(name)) for name in names}
    missing = [own_name(name) for name, match in found.items() if match is None]
    if missing:
        raise DataError(
            f"data.group_by: {pattern!r} is not found in {len(missing)} of the names of the cases, "
            f"such as {missing[0]!r}."
        )
    groups = {name: match.group(1) for name, match in found.items() if match}
    empty = [own_name(name) for name, group in groups.items() if not group]
    if empty:
        raise DataError(
            f"data.group_by: the first group of {pattern!r} finds nothing in {len(empty)} of the "
            f"names of the cases, such as {empty[0]!r}; expected the patient there."
        )
    if len(names) > 1 and len(set(groups.values())) == 1:
        raise DataError(
            f"data.group_by: {pattern!r} finds one patient, {groups[names[0]]!r}, in all "
            f"{len(names)} cases; expected at least 2: one to train on and one to test on."
        )
    return groups


def ask_for_patients(names: Sequence[str]) -> tuple[str, ...]:
    """A note, if names look as if several cases were of one patient, and nobody said which.

    That is: most names share what stands before their last number, or side, with another, and
    there are two such beginnings or more.

    Examples:
        >>> (note,) = ask_for_patients(["p1_0", "p1_1", "p2_0", "p2_1"])
        >>> note.split('?')[0]
        'several cases of one patient, such as p1_0, p1_1'
        >>> ask_for_patients(["c1", "c2", "c3"])
        ()
    """
    stems = {own_name(name): LAST.sub("", own_name(name)) or own_name(name) for name in names}
    times = Counter(stems[name] for name in map(own_name, names) if stems[name] != name)
    shared = [stem for stem, number in times.items() if number > 1]
    with_numbers = sum(any(map(str.isdigit, stem)) for stem in shared)
    if (
        len(shared) < 2
        or 2 * sum(times[stem] for stem in shared) <= len(names)
        or (2 * with_numbers <= len(shared) < FEWEST_STEMS)
    ):
        return ()
    of_first = [name for name, stem in stems.items() if stem == shared[0]]
    pattern = _pattern(stems)
    how = f"--group-by '{pattern}'" if pattern else "--group-by, a regular expression for them"
    return (
        f"several cases of one patient, such as {some(of_first, 3)}? Here each case counts as a "
        "patient of its own, and one patient may train and test. "
        f"If so: {how}; if each is of another patient: --group-by '(.*)'",
    )


def _pattern(stems: dict[str, str]) -> str | None:
    """A regular expression that puts names in one group which have one stem."""
    for pattern in PATTERNS:
        found = {name: re.search(pattern, name) for name in stems}
        groups = {name: match.group(1) for name, match in found.items() if match}
        pairs = {(stems[name], group) for name, group in groups.items()}
        in_one_to_one = len(pairs) == len(dict(pairs)) == len(set(groups.values()))
        if len(groups) == len(stems) and all(groups.values()) and in_one_to_one:
            return pattern
    return None
