"""Where nnU-Net finds the trainers, if a nnU-Net is installed that can."""

import re
from importlib import metadata
from pathlib import Path


def trainers_folder() -> Path:
    """The folder for `nnUNet_extTrainer`.

    Raises:
        ImportError: nnU-Net is missing, or too old.
    """
    try:
        version = metadata.version("nnunetv2")
    except metadata.PackageNotFoundError:
        raise ImportError(
            "nnU-Net is not installed here: pip install 'dilated-ce[nnunet]'"
        ) from None
    if [int(number) for number in re.findall(r"\d+", version)[:2]] < [2, 8]:
        raise ImportError(
            f"got nnU-Net {version}, expected 2.8 or newer: pip install 'dilated-ce[nnunet]'"
        )
    return Path(__file__).with_name("nnunet_trainers")
