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
# What names end with beside numbers: a day, what an image shows, and what all names of a set have.
DATE = re.compile(r"[_. -]*(?<!\d)(?:19|20)\d\d[_.-]?(?:0\d|1[0-2])[_.-]?(?:[0-2]\d|3[01])$")
MODALITY = re.compile(
    r"[_. -]+(?i:t[12](?:w|ce|c|gd|n|f|star)?|flair|dwi|adc|swi|pdw?|bold|mr[ia]?|cta?|pet|suv|us)$"
)
WORD = re.compile(r"[_. -]+[A-Za-z][A-Za-z0-9]*$")
BIDS = re.compile(r"^(?:.*/)?(sub-[A-Za-z0-9]+)_")
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
    r"^(.*)_\d+-\d+-\d+$",
)
TRAINS_AND_TESTS = "one patient may train and test"


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


def ask_for_patients(names: Sequence[str], so_that: str = TRAINS_AND_TESTS) -> tuple[str, ...]:
    """A note, if names look as if several cases were of one patient, and nobody said which.

    That is: most names share what stands before their last number, side or day with another, and
    there are two such beginnings or more. An image's modality at the end, or words that all names
    end with, are no part of it.

    Args:
        names: of the cases.
        so_that: what happens if a patient's cases count as those of several.

    Examples:
        >>> (note,) = ask_for_patients(["p1_0", "p1_1", "p2_0", "p2_1"])
        >>> note.split('?')[0]
        'several cases of one patient, such as p1_0, p1_1'
        >>> ask_for_patients(["c1", "c2", "c3"])
        ()
    """
    stems = _stems(list(dict.fromkeys(map(own_name, names))))
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
        f"patient of its own, and {so_that}. "
        f"If so: {how}; if each is of another patient: --group-by '(.*)'",
    )


def _stems(names: list[str]) -> dict[str, str]:
    """What each name begins with: the patient, if several names share it.

    Examples:
        >>> list(_stems(["p01_T1", "p01_T2", "p02_T1", "p02_T2"]).values())
        ['p01', 'p01', 'p02', 'p02']
        >>> list(_stems(["x_2010-01-10", "x_2011-02-11"]).values())
        ['x', 'x']
    """
    left = names
    while len(ends := {found[0] if (found := WORD.search(name)) else "" for name in left}) == 1:
        if ends == {""} or ends & set(left):
            break
        left = [WORD.sub("", name) for name in left]
    bases = {name: MODALITY.sub("", short) or name for name, short in zip(names, left, strict=True)}
    several = Counter(bases.values())
    return {
        name: bids[1]
        if (bids := BIDS.match(name))
        else base
        if several[base] > 1
        else (DATE if DATE.search(base) else LAST).sub("", base) or name
        for name, base in bases.items()
    }


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
