"""What a network predicts for whole cases, and its scores.

The network predicts one case after the other; distances and lesions, which take longest, are
computed beside it, in as many processes as the run has threads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from dilated_ce.study import processes
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.scores.calibration import calibration_errors
from dilated_ce.study.scores.lesions import lesion_table
from dilated_ce.study.scores.score import score_case
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.training.infer import predict
from dilated_ce.study.training.settings import ResolvedTraining

OnPrediction = Callable[[str, NDArray[np.uint8]], None]


@dataclass(frozen=True)
class _Predicted:
    """A case that waits for its scores; without its probabilities, which are far larger."""

    place: int
    name: str
    prediction: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    spacing: Sequence[float]
    ece: list[float]


@dataclass(frozen=True)
class _Scoring:
    """Scores a predicted case, in any process."""

    classes: tuple[str, ...]
    ignore_index: int | None
    overlapping: bool
    settings: ScoringConfig

    def __call__(self, case: _Predicted) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        by_class = score_case(
            case.prediction,
            case.labels,
            len(self.classes),
            spacing=case.spacing,
            tolerance=self.settings.tolerance,
            empty=self.settings.empty,
            ignore_index=self.ignore_index,
            ece=case.ece,
            overlapping=self.overlapping,
        )
        lesions = lesion_table(
            case.prediction,
            case.labels,
            self.classes,
            case.spacing,
            self.ignore_index,
            self.overlapping,
        )
        names = self.classes[1:]
        return [{"class": n, **row} for n, row in zip(names, by_class, strict=True)], lesions


def judge(
    network: nn.Module,
    prepared: Prepared,
    names: Sequence[str],
    fold: int,
    training: ResolvedTraining,
    scoring: ScoringConfig,
    on_prediction: OnPrediction = lambda case, prediction: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict and score cases.

    Args:
        network: in evaluation mode.
        prepared: the data.
        names: the cases.
        fold: whose training cases scale CT.
        training: how the network was trained; its `threads` are the processes that score.
        scoring: what is scored, and how.
        on_prediction: gets the name and the predicted label map of each case, in order.

    Returns:
        Scores, a row per case and class, and the true lesions, both in the order of the cases.
    """
    index = prepared.index
    score = _Scoring(tuple(index["classes"]), index["ignore_index"], prepared.overlapping, scoring)
    device = next(network.parameters()).device

    def predicted() -> Iterator[_Predicted]:
        for place, name in enumerate(names):
            case = prepared.load_scaled(name, fold)
            prediction, probabilities = predict(
                network, case, training, device, prepared.overlapping
            )
            on_prediction(name, prediction)
            labels = np.asarray(case.labels)
            ece = calibration_errors(
                probabilities,
                labels,
                prepared.num_classes,
                ignore_index=index["ignore_index"],
                overlapping=prepared.overlapping,
            )
            yield _Predicted(place, name, prediction, labels, case.spacing, ece)

    found = sorted(
        ((case.place, case.name, *result)
         for case, result in processes.spread(score, predicted(), most=training.threads)),
        key=lambda row: row[0],
    )  # fmt: skip
    rows = [
        {"case": name, "group": index["cases"][name]["group"], **row}
        for _, name, by_class, _ in found
        for row in by_class
    ]
    lesions = [{"case": name, **row} for _, name, _, of_case in found for row in of_case]
    return pd.DataFrame(rows), pd.DataFrame(lesions)
