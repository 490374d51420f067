"""Names of files and folders: which are there, which are alike, which nobody reads."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from dilated_ce.study.wording import count, some

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
# What Pillow reads and people keep pictures in.
PICTURE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
FEW = 3  # files of one ending in a folder that are named one by one


def one_form(name: str) -> str:
    """A name in the one of Unicode's forms that names are compared in: é is one letter."""
    return unicodedata.normalize("NFC", name)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.name.lower().endswith(PICTURE_ENDINGS)


def is_readable(path: Path) -> bool:
    """Whether a file is a picture or a volume by its name."""
    return path.name.lower().endswith((*PICTURE_ENDINGS, *VOLUME_ENDINGS))


def stem_of(path: Path) -> str:
    """A file's name in one form, without its ending."""
    return one_form(path.name[: len(path.name) - len(ending_of(path))])


def ending_of(path: Path) -> str:
    """The ending of a file's name: `.nii.gz` is one."""
    return next((e for e in VOLUME_ENDINGS if path.name.lower().endswith(e)), path.suffix)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder, sorted, and links that lead nowhere; but for hidden ones."""
    return [path for path in _visible(folder) if path.is_file() or is_dead(path)]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, but for hidden ones."""
    return [path for path in _visible(folder) if path.is_dir()]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted."""
    return [path for path in files_in(folder) if is_picture(path)]


def is_dead(path: Path) -> bool:
    """Whether a path is a link that leads nowhere."""
    return path.is_symlink() and not path.exists()


def absence(path: Path) -> str:
    """Why there is nothing at a path, for people."""
    if not is_dead(path):
        return "no such file"
    return f"link to {path.readlink()} leads nowhere; mount or fetch what it leads to"


def dead_links(*places: Path) -> list[str]:
    """Problems: the pictures and volumes in some folders that are links to nowhere."""
    return [
        f"{place.name}/{path.name}: {absence(path)}"
        for place in dict.fromkeys(places)
        for path in files_in(place)
        if is_readable(path) and is_dead(path)
    ]


def not_read(
    folder: Path,
    read: Iterable[Path],
    case_of: Callable[[str], str],
    names: Collection[str] = (),
) -> tuple[str, ...]:
    """A note of what is not read and could have been meant.

    These are all pictures and volumes, and files of other kinds that are called as a case is: two
    files in the folders of cases have its name.

    Args:
        folder: is searched, with all folders in it.
        read: what is read.
        case_of: the name of the case that a file without its ending may belong to.
        names: what folders of cases are called, beside those from which something is read.
    """
    known = {path.resolve() for path in read}
    places = {path.parent for path in known}
    found = [
        (place, files, place.resolve() in places) for place, files in _folders_with_files(folder)
    ]
    of_cases = [
        path
        for place, files, is_read in found
        if is_read or any(part.lower() in names for part in place.relative_to(folder).parts)
        for path in files
    ]
    times = Counter(case_of(stem_of(path)) for path in of_cases)
    meant = {path for path in of_cases if times[case_of(stem_of(path))] > 1}
    unread: list[str] = []
    for place, files, is_read in found:
        left = [
            path
            for path in files
            if (is_readable(path) or path in meant) and path.resolve() not in known
        ]
        if left and not is_read:
            unread.append(f"{place.relative_to(folder)}/ ({count(len(left), 'file')})")
        elif left:
            unread += _by_ending(folder, left)
    return (f"not read: {some(unread, 8)}",) if unread else ()


def _by_ending(folder: Path, files: Iterable[Path]) -> Iterator[str]:
    """Files of one folder: a few by their names, of many with one ending how many."""
    for ending, alike in groupby(sorted(files, key=ending_of), ending_of):
        names = [str(path.relative_to(folder)) for path in alike]
        if len(names) <= FEW:
            yield from names
        else:
            yield f"{len(names)} {ending or 'other'} files such as {names[0]}"


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _folders_with_files(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """The folders with files, from this one down, but for those that links lead on to."""
    try:
        files, inner = files_in(folder), subfolders(folder)
    except OSError:  # one that may not be read, and need not
        return
    if files:
        yield folder, files
    for path in () if folder.is_symlink() else inner:
        yield from _folders_with_files(path)
