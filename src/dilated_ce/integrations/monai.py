"""For MONAI: the losses in its own conventions, and transforms that compute the weight map.

    DilatedBalancedDiceCELoss, AdaptiveDilatedDiceCELoss  instead of monai.losses.DiceCELoss
    DilatedBalancedCELoss, AdaptiveDilatedCELoss          without Dice
    DilatedBalancedWeightsd, AdaptiveDilatedWeightsd      the map in the workers of the data loader

All can be the `_target_` of a bundle or an Auto3DSeg configuration, with plain values as arguments.
For the formulas, and for what is the paper's, see `dilated_ce.dilated_balanced_cross_entropy` and
`dilated_ce.adaptive_dilated_cross_entropy`; all choices in this module are ours. Where MONAI has a
default, it is kept.
"""

from dilated_ce.integrations._monai_cross_entropy import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
)
from dilated_ce.integrations._monai_dice import (
    AdaptiveDilatedDiceCELoss,
    DilatedBalancedDiceCELoss,
)
from dilated_ce.integrations._monai_transforms import (
    AdaptiveDilatedWeights,
    AdaptiveDilatedWeightsD,
    AdaptiveDilatedWeightsd,
    AdaptiveDilatedWeightsDict,
    DilatedBalancedWeights,
    DilatedBalancedWeightsD,
    DilatedBalancedWeightsd,
    DilatedBalancedWeightsDict,
)

__all__ = [
    "AdaptiveDilatedCELoss",
    "AdaptiveDilatedDiceCELoss",
    "AdaptiveDilatedWeights",
    "AdaptiveDilatedWeightsD",
    "AdaptiveDilatedWeightsDict",
    "AdaptiveDilatedWeightsd",
    "DilatedBalancedCELoss",
    "DilatedBalancedDiceCELoss",
    "DilatedBalancedWeights",
    "DilatedBalancedWeightsD",
    "DilatedBalancedWeightsDict",
    "DilatedBalancedWeightsd",
]
