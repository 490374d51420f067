"""Dilated balanced cross entropy for medical image segmentation.

The public names of the core, which depends on torch alone. Method: Hosseini and Soleymani
Baghshah, "Dilated Balanced Cross Entropy Loss for Medical Image Segmentation", arXiv:2412.06045.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dilated_ce.dilation import dilate_labels
    from dilated_ce.loss import adaptive_dilated_cross_entropy, dilated_balanced_cross_entropy
    from dilated_ce.modules import AdaptiveDilatedCELoss, DilatedBalancedCELoss
    from dilated_ce.weight_map import adaptive_dilated_weights, dilated_balanced_weights

__version__ = "0.2.0"

__all__ = [
    "AdaptiveDilatedCELoss",
    "DilatedBalancedCELoss",
    "adaptive_dilated_cross_entropy",
    "adaptive_dilated_weights",
    "dilate_labels",
    "dilated_balanced_cross_entropy",
    "dilated_balanced_weights",
]

# torch takes seconds to load. The help and the completion of the command line do without it, so
# each name is imported when it is first asked for.
_MODULE_OF = {
    "AdaptiveDilatedCELoss": "modules",
    "DilatedBalancedCELoss": "modules",
    "adaptive_dilated_cross_entropy": "loss",
    "adaptive_dilated_weights": "weight_map",
    "dilate_labels": "dilation",
    "dilated_balanced_cross_entropy": "loss",
    "dilated_balanced_weights": "weight_map",
}

if not TYPE_CHECKING:  # for which any name would be one of ours

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
