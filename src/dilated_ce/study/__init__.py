"""Does it help on my data? The same network trained under each loss, and what came of it.

Reads top to bottom as config -> data -> losses -> training -> metrics -> runs -> report.
From a script or a notebook: `from dilated_ce.study import compare`.
"""

from dilated_ce.study.door import compare

__all__ = ["compare"]
