"""Trainers of nnU-Net whose name holds how long they train, and from which seed.

    nnUNetTrainer_100epochs_seed0                           nnU-Net's Dice and cross entropy
    nnUNetTrainerCELoss_300epochs_seed1                     its cross entropy alone
    nnUNetTrainerDBCEDice_R4_100epochs_50iterations_seed0   one of ours; 50 steps in an epoch

The name is all that nnU-Net keeps of a trainer, so no folder of results is continued under other
settings by mistake.
"""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerCELoss import nnUNetTrainerCELoss
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerDiceLoss import (
    nnUNetTrainerDiceLoss,
)
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerTopkLoss import (
    nnUNetTrainerTopk10Loss,
)

# Those of nnU-Net's that a comparison of losses is about.
THEIRS = {
    trainer.__name__: trainer
    for trainer in (
        nnUNetTrainer,
        nnUNetTrainerCELoss,
        nnUNetTrainerDiceLoss,
        nnUNetTrainerTopk10Loss,
    )
}
MOST_EPOCHS_UNSAVED = 50  # nnU-Net's own

_RUN = re.compile(
    r"(?P<trainer>.+?)"
    r"(_(?P<epochs>[1-9]\d*)epochs)?(_(?P<iterations>[1-9]\d*)iterations)?(_seed(?P<seed>\d+))?"
)
_RUN_END = re.compile(r"_(\d+epochs|\d+iterations|seed\d+)$")  # in another order, or twice


class RunMixin:
    """Gives a trainer of nnU-Net its epochs and a seed; first in the list of parents.

    Attributes:
        epochs: None for those of the trainer.
        iterations: training steps in an epoch, with a fifth as many for the pseudo Dice, as
            nnU-Net has 250 and 50; None for those of the trainer.
        seed: of the initial weights and of all that this process draws; None for none. nnU-Net's
            processes that augment draw on their own, unless there are none (nnUNet_n_proc_DA=0).
    """

    epochs: int | None = None
    iterations: int | None = None
    seed: int | None = None

    # nnU-Net reads the names of these arguments.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)  # type: ignore[call-arg]
        trainer: Any = self
        if self.epochs is not None:
            trainer.num_epochs = self.epochs
            trainer.save_every = max(1, min(MOST_EPOCHS_UNSAVED, self.epochs // 20))
        if self.iterations is not None:
            trainer.num_iterations_per_epoch = self.iterations
            trainer.num_val_iterations_per_epoch = max(1, self.iterations // 5)

    def initialize(self: Any) -> None:
        """Build network and loss, from the seed."""
        self._draw_from(0)
        super().initialize()  # type: ignore[misc]

    def on_train_start(self: Any) -> None:
        """Begin, or go on, with what the seed gives for this epoch: nothing is drawn again."""
        if not self.was_initialized:
            self.initialize()
        self._draw_from(1 + self.current_epoch)
        super().on_train_start()  # type: ignore[misc]

    def save_checkpoint(self: Any, filename: str) -> None:
        """Write a whole checkpoint or none, so that one who is killed here can go on."""
        partial = f"{filename}.partial"
        super().save_checkpoint(partial)  # type: ignore[misc]
        if Path(partial).exists():
            Path(partial).replace(filename)

    def _draw_from(self: Any, stage: int) -> None:
        if self.seed is None:
            return
        # Processes that share a run draw other patches; the weights are those of the first.
        source = np.random.SeedSequence([self.seed, stage, self.local_rank])
        number = int(source.generate_state(1)[0])
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002, what nnU-Net draws from
        torch.manual_seed(number)


def run_of(name: str, find: Callable[[str], Any], module: str) -> Any:
    """The trainer of a name that holds epochs, iterations or a seed; None for any other name.

    Args:
        name: of the trainer.
        find: gives the trainer that the rest of the name is of.
        module: of the new class.
    """
    match = _RUN.fullmatch(name)
    if match is None or match["trainer"] == name or _RUN_END.search(match["trainer"]):
        return None
    base = THEIRS.get(match["trainer"]) or find(match["trainer"])
    numbers = {key: match[key] for key in ("epochs", "iterations", "seed")}
    settings = {key: None if text is None else int(text) for key, text in numbers.items()}
    return type(name, (RunMixin, base), {"__module__": module, "__doc__": base.__doc__, **settings})
