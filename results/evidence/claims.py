"""The evidence study: chooses radii and learning rates on validation parts, then trains the arms.

    export DILATED_CE_DATA=data
    python results/evidence/claims.py run [--group main] [--sets busi stare] [--workers 2]
    python results/evidence/claims.py status

results/PROTOCOL.md says what is run and why. Finished runs lie under runs/evidence/, their scores
and the curves of their validation Dice in results/evidence/<set>/, and what lies in either is not
run again: so it can be stopped at any time, and goes on elsewhere. What is printed comes from
validation parts; the scores of the test parts are written, and looked at when the group is done.
"""

import argparse
import csv
import dataclasses
import logging
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pandas as pd
from sets import (
    BEYOND,
    FIRST_RATE,
    GROUPS,
    LONG_CHANNELS,
    LONG_STEPS,
    RADII,
    RATES,
    RUNS,
    SETS,
    Set,
    runs_of,
)

from dilated_ce.study.api import Listener, prepare_data
from dilated_ce.study.data.cases import DataSet, Split
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.files import write_csv
from dilated_ce.study.planning import resolve
from dilated_ce.study.runs.local import carry_out
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Run, StudyError
from dilated_ce.study.runs.unit import Unit
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.training.loss_spec import parse_loss

HERE = Path(__file__).parent
TRIALS = "trials.csv"
CASES, LONG_CASES = "cases.csv", "cases_long.csv"
TRIAL_COLUMNS = ("loss", "rate", "validation_dice")
ARMS_WITH_RADIUS = ("dbce", "dbce-dice")
Trial = tuple[str, float]  # a loss and its learning rate


@dataclasses.dataclass(frozen=True)
class Study:
    """One data set at work."""

    name: str
    what: Set
    data: DataSet
    prepared: Prepared
    execution: ExecutionConfig
    table: str = CASES

    @staticmethod
    def open(name: str, execution: ExecutionConfig) -> "Study":
        """Open and prepare the data."""
        data = SETS[name].open()
        prepared = prepare_data(data, RUNS / name, Listener())
        (HERE / name).mkdir(exist_ok=True)
        return Study(name, SETS[name], data, prepared, execution)

    def judged(self, fold: int) -> tuple[str, ...]:
        """The cases of the test part, less those that choices were made on in the first fold."""
        chosen_on = set(self.data.folds[0].validation)
        return tuple(name for name in self.data.folds[fold].test if name not in chosen_on)

    def unit(self, loss: str, fold: int, rate: float, seed: int, trial: bool = False) -> Unit:
        """A run; a trial is judged on the validation part."""
        split: Split = self.data.folds[fold]
        return Unit(
            parse_loss(loss),
            seed,
            fold,
            split.train,
            () if trial else split.validation,
            split.validation if trial else self.judged(fold),
            resolve(self.what.training(learning_rate=rate), self.prepared),
            ScoringConfig(tolerance=self.what.tolerance),
            self.prepared.folder.resolve(),
            (RUNS / self.name / "runs").resolve(),
            f"trial-lr{rate:g}-" if trial else "",
            keep="none",
        )

    # ---------------------------------------------------------------- choices, on validation

    def try_out(self, wanted: Iterable[Trial]) -> dict[Trial, float]:
        """The validation Dice of each trial, those that are missing carried out on fold 0."""
        wanted = tuple(wanted)
        path = HERE / (self.what.choices_of or self.name) / TRIALS
        known: dict[Trial, float] = {}
        if path.exists():
            known = pd.read_csv(path).set_index(["loss", "rate"])["validation_dice"].to_dict()
        missing = [key for key in dict.fromkeys(wanted) if key not in known]
        if missing and self.what.choices_of:
            raise StudyError(
                f"{self.name} takes the choices of {self.what.choices_of}: run it first"
            )
        units = {self.unit(loss, 0, rate, 0, trial=True): (loss, rate) for loss, rate in missing}
        for unit, outcome, _ in carry_out(list(units), self.execution):
            key = units[unit]
            if isinstance(outcome, Run):
                known[key] = round(outcome.dice, 5)
                append(path, TRIAL_COLUMNS, [(*key, known[key])])
                logging.info("%s %s, rate %g: %.1f", self.name, *key, 100 * known[key])
            else:
                logging.info("%s %s, rate %g: %s", self.name, *key, outcome.error)
        lacking = [key for key in wanted if key not in known]
        if lacking:  # no choice without them: start again, they are tried anew
            raise StudyError(f"{self.name}: {len(lacking)} trials failed, such as {lacking[0]}")
        return {key: known[key] for key in wanted}

    def choose(self, arms: dict[str, str]) -> dict[str, Trial]:
        """The loss of each arm and its learning rate; the smaller of equals."""
        with_radius = [arm for arm in arms if arm in ARMS_WITH_RADIUS]
        radii = {arm: [(arms[arm].format(radius=r), FIRST_RATE) for r in RADII]
                 for arm in with_radius}  # fmt: skip
        rates = {arm: [(arms[arm], rate) for rate in RATES] for arm in arms if arm not in radii}
        # As many at a time as can be, for the machine's cores.
        tried = self.try_out(chain(*radii.values(), *rates.values()))
        for arm in with_radius:
            loss, _ = best(tried, radii[arm])
            rates[arm] = [(loss, rate) for rate in RATES]
        tried |= self.try_out(chain(*rates.values()))
        for among in rates.values():
            loss, rate = best(tried, among)
            if rate in BEYOND:  # the best may lie past the edge
                among.append((loss, BEYOND[rate]))
        tried |= self.try_out(chain(*rates.values()))
        return {arm: best(tried, rates[arm]) for arm in arms}

    def long(self) -> "Study":
        """The same with a larger network and more steps, as the protocol's deviations have them."""
        channels = LONG_CHANNELS[len(self.what.patch)]
        what = dataclasses.replace(
            self.what, steps=LONG_STEPS[self.name], channels=channels, forward="eager"
        )
        return dataclasses.replace(self, what=what, table=LONG_CASES)

    # ---------------------------------------------------------------------------- the arms

    def finished(self, path: Path) -> set[tuple[str, int, int]]:
        """The runs that are whole in the table; what an interruption left of another goes."""
        if not path.exists():
            return set()
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        key, classes = ["arm", "seed", "fold"], len(self.data.classes) - 1
        whole = table.groupby(key)["case"].transform("size") == table["fold"].map(
            {str(n): classes * len(self.judged(n)) for n in range(len(self.data.folds))}
        )
        if not whole.all():
            write_csv(path, table[whole])
        runs = table.loc[whole, key].itertuples(index=False, name=None)
        return {(arm, int(seed), int(fold)) for arm, seed, fold in runs}

    def train(self, arms: dict[str, str], runs: Iterable[tuple[int, int]]) -> None:
        """Every arm with every fold and seed; whole comparisons come first."""
        chosen = self.choose(arms)
        path = HERE / self.name / self.table
        known = self.finished(path)
        units = {}
        for fold, seed in runs:
            for arm in arms:
                if (arm, seed, fold) not in known:
                    loss, rate = chosen[arm]
                    units[self.unit(loss, fold, rate, seed)] = arm, rate
        for unit, outcome, _ in carry_out(list(units), self.execution):
            arm, rate = units[unit]
            if isinstance(outcome, Run):
                table = outcome.cases.assign(arm=arm, rate=rate)
                append(path, tuple(table.columns), table.round(5).itertuples(index=False))
                curve = outcome.curve.assign(arm=arm, seed=unit.seed, fold=unit.fold).round(5)
                to = path.with_name(path.name.replace("cases", "curves"))
                append(to, tuple(curve.columns), curve.itertuples(index=False))
                logging.info("%s %s: done", self.name, unit.title)
            else:
                logging.info("%s %s: %s", self.name, unit.title, outcome.error)


def best(tried: dict[Trial, float], among: Iterable[Trial]) -> Trial:
    """The one with the best validation Dice; the smaller radius or rate of equals."""
    return max(among, key=lambda trial: (tried[trial], -trial[1]))


def append(path: Path, columns: tuple[str, ...], rows: object) -> None:
    """Add rows to a table, whose first line names the columns."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(columns)
        writer.writerows(rows)


def status() -> None:
    """How many trials and runs of each data set are there."""
    for name in SETS:
        path = HERE / name / CASES
        done = pd.read_csv(path, usecols=["arm", "seed", "fold"]) if path.exists() else None
        trials = HERE / name / TRIALS
        tried = len(pd.read_csv(trials)) if trials.exists() else 0
        runs = 0 if done is None else len(done.drop_duplicates())
        logging.info(f"{name:12} {tried:4} trials, {runs:4} runs")


def main() -> None:
    """The commands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["run", "status"])
    parser.add_argument("--group", choices=[*GROUPS], nargs="*", default=[*GROUPS])
    parser.add_argument("--sets", choices=[*SETS], nargs="*", default=[*SETS])
    parser.add_argument("--workers", type=int, help="runs at once; as many as cores")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.command == "status":
        return status()
    execution = ExecutionConfig(workers=options.workers)
    for group in options.group:
        for name in options.sets:
            if group == "long" and name not in LONG_STEPS:
                continue
            if SETS[name].is_there:
                study = Study.open(name, execution)
                study = study.long() if group == "long" else study
                study.train(GROUPS[group][0], runs_of(group, SETS[name]))
            else:
                logging.info("%s is left out: its data are not there", name)
    return None


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
