"""Who watches runs while they go on."""

from typing import Any


class Watcher:
    """Is told how runs go on, and does nothing of it; the progress bars are one that talks."""

    def on_outcome(self, unit: Any, outcome: Any, kept: bool) -> None:
        """A unit has come to its end.

        Args:
            unit: of our own training or of nnU-Net's.
            outcome: its run, or its failure.
            kept: whether it was finished before.
        """

    def on_state(self, state: str) -> None:
        """What the others do, such as `3 running, 9 waiting for Slurm`; empty: nothing to say."""

    def on_note(self, note: str) -> None:
        """Something happened that is worth a line."""
