"""Dilated balanced cross entropy for medical image segmentation.

The public names of the core, which depends on torch alone. Method: Hosseini and Soleymani
Baghshah, "Dilated Balanced Cross Entropy Loss for Medical Image Segmentation", arXiv:2412.06045.
"""

from dilated_ce.loss import DilatedBalancedCELoss, dilated_balanced_cross_entropy
from dilated_ce.morphology import dilate_labels
from dilated_ce.weights import dilated_balanced_weights

__version__ = "0.1.0"

__all__ = [
    "DilatedBalancedCELoss",
    "dilate_labels",
    "dilated_balanced_cross_entropy",
    "dilated_balanced_weights",
]
