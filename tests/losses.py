"""Both losses under one signature, for tests of what holds for each of them."""

from functools import partial

from dilated_ce import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    adaptive_dilated_cross_entropy,
    adaptive_dilated_weights,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)

LOSSES = {
    "batch": partial(dilated_balanced_cross_entropy, radius=1.5),
    "image": partial(dilated_balanced_cross_entropy, radius=1.5, volumes="image"),
    "adaptive": adaptive_dilated_cross_entropy,
}
WEIGHTS = {
    "batch": partial(dilated_balanced_weights, radius=1.5),
    "image": partial(dilated_balanced_weights, radius=1.5, volumes="image"),
    "adaptive": adaptive_dilated_weights,
}
MODULES = {
    "batch": partial(DilatedBalancedCELoss, 1.5),
    "image": partial(DilatedBalancedCELoss, 1.5, volumes="image"),
    "adaptive": AdaptiveDilatedCELoss,
}
