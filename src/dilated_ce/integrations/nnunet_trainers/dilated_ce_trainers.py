"""Where nnU-Net finds the trainers: it looks for names in the files of a folder."""

from dilated_ce.integrations.nnunet import (  # noqa: F401
    __getattr__,  # the trainers with a radius in their name
    nnUNetTrainerAdaptiveDBCE,
    nnUNetTrainerAdaptiveDBCEDice,
)
