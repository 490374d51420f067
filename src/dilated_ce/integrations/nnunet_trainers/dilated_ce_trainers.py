"""Where nnU-Net finds the trainers: it looks for names in the files of a folder."""

from typing import Any

from dilated_ce.integrations import nnunet
from dilated_ce.integrations.nnunet import (  # noqa: F401
    nnUNetTrainerAdaptiveDBCE,
    nnUNetTrainerAdaptiveDBCEDice,
)


def __getattr__(name: str) -> Any:
    """The trainers with settings in their name; any loss of `dilated-ce compare` is one, too."""
    if name.startswith("nnUNetTrainerLoss_"):
        from dilated_ce.study.nnunet.trainer import find_trainer  # needs the libraries of the study

        return find_trainer(name)
    return nnunet.__getattr__(name)
