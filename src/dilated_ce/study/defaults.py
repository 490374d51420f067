"""What a comparison takes where nothing is said. Light: the help of the command line shows it."""

import os
from pathlib import Path
from typing import Any

DEFAULT_LOSSES = "ce,balanced-ce,dice-ce,adaptive-dbce,adaptive-dbce-dice"
DEFAULT_LOSSES_OF_NNUNET = "dice-ce,adaptive-dbce-dice"  # of which a run may take a day


def folder_for(data: Any, before: str = "") -> Path:
    """The folder for a study of these data, if no other is asked for: runs/NAME."""
    try:
        return Path("runs") / (before + Path(os.path.realpath(data)).name)
    except (TypeError, ValueError):
        return Path("runs")  # never written to: the settings say what is wrong with such a path
