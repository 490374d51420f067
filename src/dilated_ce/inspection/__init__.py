"""What labels alone say about class frequencies and the radius, before any training.

Reads as tallies -> volumes (the measured tables) -> advice -> maps -> pictures -> page.
"""

from dilated_ce.inspection.advice import Advice, adaptive_lines, advise
from dilated_ce.inspection.maps import weigh, write_weight_maps
from dilated_ce.inspection.measuring import Measured, default_radii, measure
from dilated_ce.inspection.page import write_page

__all__ = [
    "Advice",
    "Measured",
    "adaptive_lines",
    "advise",
    "default_radii",
    "measure",
    "weigh",
    "write_page",
    "write_weight_maps",
]
