"""The grammar that names a network with its arguments.

unet   dynunet:deep_supervision=true   SwinUNETR:feature_size=12,depths=[1,1,1,1]
smp:Unet:encoder_name=resnet18   my_module:make_network:depth=3
"""

import difflib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from monai.networks import nets
from torch import nn

from dilated_ce.study.training.own import file_of, find, parameters_of, value_of

# Of MONAI, by name without capitals: `nets` holds some names twice.
_MONAI = {
    name.lower(): made
    for name, made in sorted(vars(nets).items())
    if isinstance(made, type) and issubclass(made, nn.Module)
}
# That take the settings `channels` and `norm`: their levels, of which each but the first halves.
WITH_CHANNELS = ("unet", "dynunet", "segresnet", "attentionunet")
WITH_NORM = ("unet", "dynunet", "segresnet")
# By what the sides of a patch must be divisible, of those whose constructors do not say.
_FACTORS = {"swinunetr": 32, "unetr": 16, "basicunet": 16, "basicunetplusplus": 16, "vnet": 16}
SMP, SMP_PACKAGE, SMP_FACTOR = "smp", "segmentation_models_pytorch", 32


@dataclass(frozen=True)
class NetworkSpec:
    """A network by name with the arguments that the user set."""

    name: str  # of MONAI without capitals, smp:NAME or module:function
    arguments: dict[str, Any]
    text: str  # as the user wrote it

    @cached_property
    def maker(self) -> Callable[..., nn.Module]:
        """The class or function that makes it."""
        return _maker(self.name)

    @property
    def is_monai(self) -> bool:
        """Whether it is MONAI's, named without a module."""
        return ":" not in self.name

    @property
    def title(self) -> str:
        """The name for people, with where it is from."""
        if self.is_monai:
            return f"MONAI {self.text}"
        package, _, rest = self.text.partition(":")
        return f"segmentation_models.pytorch {rest}" if package == SMP else self.text

    @property
    def source_file(self) -> Path | None:
        """The Python file of a network of the user's; None for those of MONAI and smp."""
        mine = not self.is_monai and not self.name.startswith(f"{SMP}:")
        return file_of(self.maker) if mine else None

    def factor(self, channels: tuple[int, ...]) -> int | None:
        """By what each side of a patch must be divisible; None if that is not known."""
        if self.name in WITH_CHANNELS and not {"strides", "channels"} & self.arguments.keys():
            return int(2 ** (len(channels) - 1))
        return SMP_FACTOR if self.name.startswith(f"{SMP}:") else _FACTORS.get(self.name)


def parse_network(text: str) -> NetworkSpec:
    """Parse a network such as `unet` or `SwinUNETR:feature_size=12`.

    Raises:
        ValueError: an unknown network or argument, or a package that is not installed.

    Examples:
        >>> parse_network("SwinUNETR:feature_size=12").arguments
        {'feature_size': 12}
    """
    name, _, values = text.strip().partition(":")
    if name.lower() in _MONAI:
        name = name.lower()
    else:
        attribute, _, values = values.partition(":")
        if not attribute.isidentifier():
            raise ValueError(_unknown(text, name))
        name = f"{name}:{attribute}"
    subject = f"network {name!r}"
    signature = inspect.signature(_maker(name)).parameters
    texts = parameters_of(subject, values, signature)
    arguments = {key: value_of(subject, key, value) for key, value in texts.items()}
    return NetworkSpec(name, arguments, text.strip())


def _maker(name: str) -> Callable[..., nn.Module]:
    if name in _MONAI:
        return _MONAI[name]
    package, _, attribute = name.partition(":")
    if package != SMP:
        return find("network", name)
    if importlib.util.find_spec(SMP_PACKAGE) is None:
        raise ValueError(
            f"network {name!r}: segmentation_models.pytorch is not installed; "
            "pip install segmentation-models-pytorch"
        )
    return find("network", f"{SMP_PACKAGE}:{attribute}")


def _unknown(text: str, name: str) -> str:
    if name == SMP:
        return f"got {text!r}, expected smp:NAME:ARGUMENT=VALUE, as smp:Unet:encoder_name=resnet18"
    close = difflib.get_close_matches(name.lower(), _MONAI, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return (
        f"got {text!r}, expected a network of MONAI such as unet, dynunet, segresnet or SwinUNETR, "
        f"smp:Unet:encoder_name=resnet18, or module:function for your own.{hint}"
    )
