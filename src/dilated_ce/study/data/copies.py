"""One image under several names, such as copies and links: who trains on it knows the answer."""

from collections.abc import Iterable, Mapping

from dilated_ce.study.data.cases import Split
from dilated_ce.study.data.split import PARTS
from dilated_ce.study.wording import some


def find_copies(
    hashes: Mapping[str, tuple[str, str]], folds: Iterable[Split]
) -> tuple[list[str], list[str]]:
    """Problems and notes of images that are the same to the last voxel.

    The same image with the same labels in two parts of a split is a problem; all else is a note.

    Args:
        hashes: of the image and the labels of each case, by its name.
        folds: the splits.

    Examples:
        >>> folds = [Split(("a", "b"), (), ("c",))]
        >>> find_copies({"a": ("1", "5"), "b": ("1", "5"), "c": ("2", "5")}, folds)
        ([], ['the same image under several names: a = b; are they copies of one file?'])
    """
    problems, others = [], []
    sides = [[set(getattr(fold, part)) for part in PARTS] for fold in folds]
    for names in _alike(hashes, {name: image for name, (image, _) in hashes.items()}):
        leaks = [
            same
            for same in _alike(names, {name: hashes[name][1] for name in names})
            if any(sum(not side.isdisjoint(same) for side in of_fold) > 1 for of_fold in sides)
        ]
        problems += [
            f"{' and '.join(same[:2]) if len(same) == 2 else some(same)}: one image with one mask "
            "in two parts of a split; remove all but one, or keep them in one part (--group-by, "
            "--split)"
            for same in leaks
        ]
        if not leaks:
            others.append(" = ".join(names))
    if not others:
        return problems, []
    note = f"the same image under several names: {some(others)}; are they copies of one file?"
    return problems, [note]


def _alike(names: Iterable[str], hashes: Mapping[str, str]) -> list[list[str]]:
    """The names that share a hash with others."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(hashes[name], []).append(name)
    return [alike for alike in found.values() if len(alike) > 1]
