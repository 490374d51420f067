"""Lightning and MONAI without a trace in the process that calls."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import disable_possible_user_warnings
from monai.data import get_track_meta, set_track_meta

_LIGHTNING_LOG = logging.getLogger("lightning.pytorch")


@contextmanager
def as_guest() -> Iterator[None]:
    """Run Lightning and MONAI as guests.

    - Ctrl-C stays KeyboardInterrupt: Lightning would end the program, and ignore the next Ctrl-C.
    - What Lightning tells of the machine and of its own insides is kept quiet.
    - MONAI's patches are plain tensors: none needs its origin, and they take half the time.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    log, track = _LIGHTNING_LOG.level, get_track_meta()
    _LIGHTNING_LOG.setLevel(logging.ERROR)
    set_track_meta(False)
    try:
        with warnings.catch_warnings():
            disable_possible_user_warnings()
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
            yield
    except SystemExit as end:
        if in_main_thread:  # no other may set handlers
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end
    finally:
        _LIGHTNING_LOG.setLevel(log)
        set_track_meta(track)
