"""Names of files and folders: which are there, which are alike, which nobody reads."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dilated_ce.study.wording import count, some

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
# What Pillow reads and people keep pictures in.
PICTURE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)


def one_form(name: str) -> str:
    """A name in the one of Unicode's forms that names are compared in: é is one letter."""
    return unicodedata.normalize("NFC", name)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.name.lower().endswith(PICTURE_ENDINGS)


def is_readable(path: Path) -> bool:
    """Whether a file is a picture or a volume by its name."""
    return path.name.lower().endswith((*PICTURE_ENDINGS, *VOLUME_ENDINGS))


def files_in(folder: Path) -> list[Path]:
    """The files of a folder, sorted, but for hidden ones."""
    return [path for path in _visible(folder) if path.is_file()]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, but for hidden ones."""
    return [path for path in _visible(folder) if path.is_dir()]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted."""
    return [path for path in files_in(folder) if is_picture(path)]


def not_read(
    folder: Path, read: Iterable[Path], of_kind: Callable[[Path], bool] = is_picture
) -> tuple[str, ...]:
    """A note of the files of a kind that are not read, or of the folders that hold them."""
    known = {path.resolve() for path in read}
    places = {path.parent for path in known}
    unread = []
    for place, files in _with_files(folder, of_kind):
        if place.resolve() not in places:
            unread.append(f"{place.relative_to(folder)}/ ({count(len(files), 'file')})")
            continue
        unread += [str(path.relative_to(folder)) for path in files if path.resolve() not in known]
    return (f"not read: {some(unread, 8)}",) if unread else ()


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _with_files(folder: Path, of_kind: Callable[[Path], bool]) -> Iterator[tuple[Path, list[Path]]]:
    """The folders with files of a kind, from this one down, but for those that links lead on to."""
    try:
        files, inner = [path for path in files_in(folder) if of_kind(path)], subfolders(folder)
    except OSError:  # one that may not be read, and need not
        return
    if files:
        yield folder, files
    for path in () if folder.is_symlink() else inner:
        yield from _with_files(path, of_kind)
