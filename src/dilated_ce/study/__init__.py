"""Does it help on my data? The same network trained under each loss, and what came of it.

Reads top to bottom as config -> data -> losses -> training -> metrics -> runs -> report.
From a script or a notebook: `from dilated_ce.study import compare, report`.
"""

# The package goes first: an import of it later would put it in the place of the function.
import dilated_ce.study.report  # noqa: F401
from dilated_ce.study.from_python import compare, report

__all__ = ["compare", "report"]
