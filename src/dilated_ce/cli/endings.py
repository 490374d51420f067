"""How a command ends where people's data, settings or disks stop it: with one error."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dilated_ce.cli.console import fail

OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    None,  # NumPy's, which wrote less than it had
)


def _is_for(out: Path, path: Path) -> bool:
    """Whether a path lies in the folder, or is a parent that is made for it."""
    return path in out.parents or path.is_relative_to(out)


@contextmanager
def one_error(out: Path, *expected: type[Exception], kept: bool = True) -> Iterator[None]:
    """Tell of errors of these types, and of the disk's, without a traceback.

    Args:
        out: the folder that is written to.
        expected: types of errors whose messages are for people.
        kept: whether the same command goes on with what is finished.
    """
    try:
        yield
    except expected as error:
        fail(str(error))
    except OSError as error:
        # Files are read too: only those in `out`, and nameless ones, are about writing.
        where = Path(str(error.filename or out))
        if error.errno not in OF_THE_DISK or not _is_for(out, where):
            fail(str(error))
        goes_on = " Finished runs are kept: the same command goes on from there." if kept else ""
        fail(f"{error}. Is there room in {out}, and may you write there?{goes_on}")
