"""Networks by name: MONAI's, those of segmentation_models.pytorch, and the user's."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import Tensor, nn

from dilated_ce.study.training.network_spec import SMP, NetworkSpec, parse_network
from dilated_ce.study.training.own import explain
from dilated_ce.study.training.settings import TrainingConfig

Forward = Callable[[Tensor], Any]
MOST_KEYS = 5  # of weights that do not fit, that are listed


def build_network(
    config: TrainingConfig, spatial_dims: int, in_channels: int, num_classes: int
) -> nn.Module:
    """A network that takes images (B, in_channels, *spatial) to logits (B, classes, *spatial).

    In training it may return several logits, for deep supervision: see `outputs_of`. `channels` are
    those of the levels; each level but the first halves the image.

    Raises:
        ValueError: arguments that the network does not take, or weights that do not fit it.

    Examples:
        >>> import torch
        >>> network = build_network(TrainingConfig(channels=(4, 8)), 2, 3, 2)
        >>> network(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
    """
    spec = parse_network(config.network)
    signature = inspect.signature(spec.maker).parameters
    arguments = {**_arguments(spec, config, spatial_dims, in_channels, num_classes, signature)}
    arguments.update(spec.arguments)
    missing = [
        key
        for key, p in signature.items()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and key not in arguments
    ]
    if missing:
        raise ValueError(
            f"network {spec.text}: {missing[0]} is missing; write {spec.name}:{missing[0]}=..."
        )
    try:
        network = spec.maker(**arguments)
    except Exception as error:
        raise ValueError(f"network {spec.text} cannot be built: {explain(error)}") from error
    if not isinstance(network, nn.Module):
        got = type(network).__name__
        raise ValueError(f"network {spec.text}: got a {got}, expected an nn.Module")
    if config.weights is not None:
        load_weights(network, config.weights)
    return network


def _arguments(
    spec: NetworkSpec,
    config: TrainingConfig,
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    signature: Mapping[str, inspect.Parameter],
) -> dict[str, Any]:
    """What the data and the settings say; of it a network gets what it has a parameter for."""
    channels, halvings = config.channels, len(config.channels) - 1
    affine = (config.norm, {"affine": True})
    if spec.name.startswith(f"{SMP}:"):
        if spatial_dims == 3:
            raise ValueError(f"network {spec.text} is for 2D images, and these are 3D")
        # Its default downloads weights; here every seed has its own.
        return {"in_channels": in_channels, "classes": num_classes, "encoder_weights": None}
    data = {
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": num_classes,
        "num_classes": num_classes,
    }
    if config.patch_size is not None:
        data["img_size"] = config.patch_size  # type: ignore[assignment]
    levels: dict[str, dict[str, Any]] = {
        "unet": {
            "channels": channels,
            "strides": (2,) * halvings,
            "num_res_units": 2,
            "norm": config.norm,
        },
        "attentionunet": {"channels": channels, "strides": (2,) * halvings},
        "dynunet": {
            "kernel_size": (3,) * len(channels),
            "strides": (1, *(2,) * halvings),
            "upsample_kernel_size": (2,) * halvings,
            "filters": channels,
            "norm_name": affine,
        },
        "segresnet": {
            "init_filters": channels[0],
            "blocks_down": (1,) * len(channels),
            "blocks_up": (1,) * halvings,
            "norm": affine,
        },
    }
    return {key: v for key, v in data.items() if key in signature} | levels.get(spec.name, {})


def compiled(network: nn.Module) -> Forward:
    """The forward pass as `torch.compile` makes it, for images of one shape.

    The network stays as it is, with the names of its weights, for images of any shape.
    """
    forward: Forward = torch.compile(network.forward, dynamic=False)
    return forward


def outputs_of(network: nn.Module, images: Tensor, forward: Forward | None = None) -> list[Tensor]:
    """The logits of a network for images (B, channels, *spatial), those that count first.

    One of them, or several for deep supervision: a list, or MONAI's DynUNet's (B, heads, C,
    *spatial). They come from its forward pass, or from `forward`, the same one compiled.

    Raises:
        TypeError: anything else.
    """
    found = (forward or network)(images)
    if isinstance(found, Tensor):
        return list(found.unbind(1)) if found.ndim == images.ndim + 1 else [found]
    if isinstance(found, list | tuple) and found and all(isinstance(o, Tensor) for o in found):
        # MONAI's UNet++ ends with the one that went through all of its levels.
        last_counts = isinstance(network, BasicUNetPlusPlus)
        return list(found[::-1] if last_counts else found)
    raise TypeError(
        f"the network returns a {type(found).__name__}, expected a tensor (B, C, *spatial) or a "
        "list of them, the one that counts first"
    )


def supervised(
    loss: nn.Module, outputs: list[Tensor], target: Tensor, weights: tuple[float, ...] | None
) -> Tensor:
    """The loss of one output, or the weighted mean of the losses of several.

    A smaller output is stretched to the size of the target, linearly: so a radius or a distance
    means the same for each.

    Args:
        loss: of logits (B, C, *spatial) against a target.
        outputs: logits (B, C, *sides), the one that counts first.
        target: (B, 1 or C, *spatial).
        weights: of the outputs; 1, 1/2, 1/4, ... if None. Their sum is made 1.

    Raises:
        ValueError: another number of weights than outputs.
    """
    if weights is None:
        weights = tuple(2.0**-index for index in range(len(outputs)))
    if len(weights) != len(outputs):
        raise ValueError(
            f"training.output_weights: got {len(weights)} numbers, expected {len(outputs)}, one "
            "for each output of the network"
        )
    losses = [
        weight / sum(weights) * loss(_stretched(output, target.shape[2:]), target)
        for weight, output in zip(weights, outputs, strict=True)
        if weight > 0
    ]
    return torch.stack([value.reshape(()) for value in losses]).sum()


def _stretched(logits: Tensor, sides: torch.Size) -> Tensor:
    if logits.shape[2:] == sides:
        return logits
    return nn.functional.interpolate(
        logits, tuple(sides), mode={2: "bilinear", 3: "trilinear"}[len(sides)]
    )


def load_weights(network: nn.Module, path: Path) -> None:
    """Start from the weights in a file: a state dict, or a checkpoint that holds one.

    Raises:
        ValueError: a file that is none, or weights that are not those of this network; all kinds
            of misfits are listed.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever it stumbles over
        line = str(error).splitlines()[0]
        raise ValueError(f"training.weights: {path} cannot be read as weights: {line}") from error
    for key in ("state_dict", "model", "network_weights"):
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise ValueError(f"training.weights: {path} holds no state dict of tensors")
    own = network.state_dict()
    for prefix in ("network.", "module.", "model."):  # of Lightning, of several processes
        inside = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        if not stored.keys() & own.keys() and inside:
            stored = inside
    misfits = {
        "missing": sorted(own.keys() - stored.keys()),
        "not of this network": sorted(stored.keys() - own.keys()),
        "of another shape": [
            f"{key} {tuple(stored[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in stored and stored[key].shape != own[key].shape
        ],
    }
    if any(misfits.values()):
        lines = [
            f"{len(keys)} {what}: {', '.join(keys[:MOST_KEYS])}{', ...' * (len(keys) > MOST_KEYS)}"
            for what, keys in misfits.items()
            if keys
        ]
        raise ValueError(f"training.weights: {path} does not fit the network; " + "; ".join(lines))
    network.load_state_dict(stored)
