"""MONAI's networks by name."""

from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import nn

from dilated_ce.study.training.settings import TrainingConfig


def build_network(
    config: TrainingConfig, spatial_dims: int, in_channels: int, num_classes: int
) -> nn.Module:
    """A network that takes images (B, in_channels, *spatial) to logits (B, classes, *spatial).

    `channels` are those of the levels; each level but the first halves the image.

    Examples:
        >>> import torch
        >>> network = build_network(TrainingConfig(channels=(4, 8)), 2, 3, 2)
        >>> network(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
    """
    channels = config.channels
    halvings = len(channels) - 1
    if config.network == "unet":
        return UNet(
            spatial_dims,
            in_channels,
            num_classes,
            channels,
            strides=(2,) * halvings,
            num_res_units=2,
            norm=config.norm,
        )
    if config.network == "dynunet":
        return DynUNet(
            spatial_dims,
            in_channels,
            num_classes,
            kernel_size=(3,) * len(channels),
            strides=(1, *(2,) * halvings),
            upsample_kernel_size=(2,) * halvings,
            filters=channels,
            norm_name=(config.norm, {"affine": True}),
        )
    return SegResNet(
        spatial_dims,
        init_filters=channels[0],
        in_channels=in_channels,
        out_channels=num_classes,
        blocks_down=(1,) * len(channels),
        blocks_up=(1,) * halvings,
        norm=(config.norm, {"affine": True}),
    )
