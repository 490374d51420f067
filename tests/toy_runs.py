"""Small runs, for whatever carries them out."""

from toy import make_dataset

from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.planning import plan_units
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.settings.compare import CompareConfig

TRAINING = {
    "steps": 3,
    "batch_size": 2,
    "patch_size": (16,),
    "channels": (4, 8),
    "evaluations": 1,
    "device": "cpu",
    "threads": 1,
}


def unit_maker(folder):
    """A function that makes the units of a study in the folder, with other settings if asked."""
    data = make_dataset()
    prepared = prepare(data, folder / "prepared")

    def make(losses=("ce", "dbce:radius=2"), seeds=1, **training):
        config = CompareConfig(
            data={"path": folder},
            losses=losses,
            seeds=seeds,
            training={**TRAINING, **training},
            out=folder,
        )
        return plan_units(config, data, prepared)

    return make


def tables(units):
    """What is compared: the tables of all runs, to the last digit."""
    return {
        f"{unit.name}/{name}": (unit.folder / name).read_bytes()
        for unit in units
        for name in ("cases.csv", "lesions.csv", "losses.csv", "curve.csv")
    }


class Notes(Watcher):
    """Writes down what it is told."""

    def __init__(self):
        self.states, self.notes = [], []

    def on_state(self, state):
        self.states.append(state)

    def on_note(self, note):
        self.notes.append(note)
