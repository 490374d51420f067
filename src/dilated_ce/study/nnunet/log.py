"""How far a run of nnU-Net is, as read from the logs that it keeps."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_NUMBER = re.compile(r"\b(?:\d+(?:\.\d*)?e[+-]?\d+|\d+\.\d*|nan\b)")
_EPOCH = re.compile(r": Epoch (\d+) *$")
_LOSS = re.compile(r": train_loss (\S+)")
_DICE = re.compile(r": Pseudo dice (\[.*)")
_TIME = re.compile(r": Epoch time: ([\d.]+) s")


@dataclass(frozen=True)
class Epoch:
    """An epoch that came to its end."""

    number: int
    loss: float  # of the training
    dice: float  # nnU-Net's pseudo Dice, the mean over the classes; NaN where there is none
    seconds: float


def read_logs(fold: Path) -> list[Epoch]:
    """The epochs that a fold has behind it; of one that was done twice, the later time.

    Args:
        fold: nnU-Net's folder of a fold, whether it is there or not. A run that goes on begins
            another `training_log_*.txt`.
    """
    epochs: dict[int, Epoch] = {}
    for path in sorted(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime):
        for epoch in parse_log(path.read_text(encoding="utf-8", errors="replace")):
            epochs[epoch.number] = epoch
            for later in [number for number in epochs if number > epoch.number]:
                del epochs[later]  # it went on from before them
    return [epochs[number] for number in sorted(epochs)]


def parse_log(text: str) -> list[Epoch]:
    """The whole epochs of one log.

    Examples:
        >>> parse_log('''
        ... 2026-01-01 10:00:00.5: Epoch 7
        ... 2026-01-01 10:00:09.5: train_loss -0.25
        ... 2026-01-01 10:00:09.5: Pseudo dice [np.float32(0.5), np.float32(0.75)]
        ... 2026-01-01 10:00:09.5: Epoch time: 9.0 s
        ... 2026-01-01 10:00:10.5: Epoch 8
        ... ''')
        [Epoch(number=7, loss=-0.25, dice=0.625, seconds=9.0)]
    """
    epochs = []
    number, loss, dice = None, math.nan, math.nan
    for line in text.splitlines():
        if found := _EPOCH.search(line):
            number, loss, dice = int(found[1]), math.nan, math.nan
        elif found := _LOSS.search(line):
            loss = _number(found[1])
        elif found := _DICE.search(line):
            values = [_number(value) for value in _NUMBER.findall(found[1])]
            there = [value for value in values if not math.isnan(value)]
            dice = float(np.mean(there)) if there else math.nan
        elif (found := _TIME.search(line)) and number is not None:
            epochs.append(Epoch(number, loss, dice, float(found[1])))
            number = None
    return epochs


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
