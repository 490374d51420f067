"""Change the core in one place at a time, and see whether the tests notice: `make mutation`.

    make mutation                                 all modules: two hours on two cores
    make mutation ARGS="--modules weighting loss"   some of them
    make mutation ARGS="--survivors"              only what survived and has no reason yet

Writes results/quality/mutation.csv, a row per module, and survivors.csv, a row for each mutant that
no test noticed; the reasons written there by hand are kept.

Every mutant lives in a copy of the tree. Its tests run in a process that is forked from one that
has torch and pytest loaded already, which is what makes this bearable; on Linux and macOS. They are
the fast tests of the core, with few examples for each property: no kernels of GPUs, no compiled
code, no other processes.

Why not a library: mutmut (3.8) leaves decorated functions alone, among them `dilate_masks`,
`look_up` and `discs`; cosmic-ray starts Python for each mutant, which takes longer to load
torch than most mutants live.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import calls
import hypothesis
import numpy as np  # noqa: F401
import pandas as pd
import PIL.Image  # noqa: F401
import pytest
import reference  # noqa: F401
import scipy.ndimage  # noqa: F401
import torch
from mutants import Mutant, mutants
from rich.progress import track

ROOT = Path(__file__).resolve().parents[2]
QUALITY = ROOT / "results" / "quality"
# Each has its own tests, tests/test_<module>.py, but for these.
TESTED_WITH = {"growing": "dilation", "weight_map": "weighting", "modules": "loss"}
MODULES = ("ball", "pieces", "masks", "growing", "dilation", "radius", "shares", "weighting",
           "weight_map", "weighted_ce", "target", "options", "loss", "modules")  # fmt: skip
LEFT_OUT = "large or transforms or gradcheck"
RANDOM_CALLS = 300
KEY = ["module", "before", "after", "nth"]
GIB = 2**30

hypothesis.settings.register_profile(
    "few", deadline=None, max_examples=12, derandomize=True, database=None
)
torch.testing.assert_close(torch.ones(1), torch.ones(1))  # loads what else each child would load


def run_tests(tree: Path, module: str) -> int:
    """Run the tests in this tree up to the first failure, in this process, which ends with it.

    First some of the random calls of tests/test_fuzz.py, which most mutants don't survive; an
    exception of theirs is a failure, too.
    """
    os.chdir(tree)
    os.environ |= {"HYPOTHESIS_PROFILE": "few", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    sys.path[:0] = [str(tree / "src"), str(tree / "tests")]
    sys.dont_write_bytecode = True  # two changes within a second would look like one
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    import fuzz  # which loads the package

    for index in range(RANDOM_CALLS):
        fuzz.judge(calls.draw(fuzz.SEED_OF_TESTS, index))
    # The tests most likely to notice come first.
    first = TESTED_WITH.get(module, module)
    tests = sorted({*MODULES} - {*TESTED_WITH}, key=lambda name: (name != first, name))
    options = ["-x", "-q", "-k", f"not ({LEFT_OUT})", "--no-header"]
    # What takes time and tells nothing here.
    plugins = ["--assert=plain", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
    doctests = [f"src/dilated_ce/{name}.py" for name in MODULES]
    return pytest.main(
        [*options, *plugins, *(f"tests/test_{name}.py" for name in tests), *doctests]
    )


def survives(tree: Path, module: str, limit: float) -> bool:
    """Whether all tests pass in this tree, in so many CPU seconds and 4 GiB more than now."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 4 * GIB,) * 2)
            # Ends the process if it hangs, and not if the machine is busy.
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1,) * 2)
            code = run_tests(tree, module)
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def copy_of_the_tree(folder: Path, root: Path = ROOT) -> Path:
    """What the tests need, where it can be changed."""
    if not folder.exists():
        leave = shutil.ignore_patterns("__pycache__", "study", "inspection", "cli", "integrations")
        for part in ("src", "tests", "benchmarks/hardening", "results/quality"):
            shutil.copytree(root / part, folder / part, ignore=leave)
        shutil.copy(root / "pyproject.toml", folder)
    return folder


def put_to_the_test(work: str, module: str, mutant: Mutant, limit: float) -> bool:
    """Whether this mutant survives, in the tree of this process."""
    torch.set_num_threads(1)
    tree = copy_of_the_tree(Path(work) / str(os.getpid()), Path(work) / "unchanged")
    path = tree / "src" / "dilated_ce" / f"{module}.py"
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant.source, encoding="utf-8")
    try:
        return survives(tree, module, limit)
    finally:
        path.write_text(original, encoding="utf-8")


def mutants_of(module: str) -> pd.DataFrame:
    """The mutants of a module; `nth` tells apart those that read alike."""
    source = (ROOT / "src" / "dilated_ce" / f"{module}.py").read_text(encoding="utf-8")
    table = pd.DataFrame(
        {"module": module, "line": m.line, "before": m.before, "after": m.after, "mutant": m}
        for m in mutants(source)
    )
    # Of a statement that goes on over lines, the first is enough to find it.
    for name in ("before", "after"):
        table[name] = table[name].str.split("\n").str[0]
    table["nth"] = table.groupby(["before", "after"]).cumcount()
    return table


def judge(table: pd.DataFrame, minutes: float, processes: int) -> Iterator[pd.DataFrame]:
    """The mutants of one module after the other, with the column `survived`.

    The time given is for all modules; of the last one, only those that were tried are there.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        tree = copy_of_the_tree(Path(work) / "unchanged")
        if not survives(tree, "weighting", 900):
            raise SystemExit("The tests fail on the unchanged tree: run them first.")
        limit = 3 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime + 10
        context = multiprocessing.get_context("fork")
        for module, part in table.groupby("module", sort=False):
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                jobs = {
                    pool.submit(put_to_the_test, work, module, row.mutant, limit): row.Index
                    for row in part.itertuples()
                }
                for _ in track(as_completed(jobs), module, total=len(jobs)):
                    if time.monotonic() - start > 60 * minutes:
                        pool.shutdown(cancel_futures=True)
                        break
            done = {index: job.result() for job, index in jobs.items() if not job.cancelled()}
            if done:
                yield part.loc[list(done)].assign(survived=list(done.values()))


def read(name: str, columns: list[str]) -> pd.DataFrame:
    """A table of the last run, without modules that are gone; or an empty one."""
    path = QUALITY / name
    if not path.exists():
        return pd.DataFrame(columns=columns)
    table = pd.read_csv(path, keep_default_na=False)
    return table[table["module"].isin(MODULES)]


def write(tried: pd.DataFrame, only_survivors: bool) -> None:
    """Write both tables with what was found in one module; the others keep their rows."""
    [module] = tried["module"].unique()
    old = read("survivors.csv", [*KEY, "line", "why"])
    counts = read("mutation.csv", ["module"]).set_index("module")
    found = tried[tried["survived"].astype(bool)]
    found = found.merge(old[[*KEY, "why"]], on=KEY, how="left").fillna({"why": ""})
    if only_survivors:  # those with a reason have not been tried again
        found = pd.concat([old[(old["module"] == module) & (old["why"] != "")], found])
    survivors = pd.concat([old[old["module"] != module], found])
    survivors = survivors[["module", "line", "before", "after", "nth", "why"]]
    if not only_survivors:
        counts.loc[module, ["mutants", "tried"]] = len(mutants_of(module)), len(tried)
    killed = counts.loc[module, "tried"] - len(found)
    counts.loc[module, ["killed", "survived"]] = killed, len(found)
    for module in counts.index:
        own = survivors[survivors["module"] == module]
        counts.loc[module, "explained"] = (own["why"] != "").sum()
    QUALITY.mkdir(parents=True, exist_ok=True)
    order = [name for name in MODULES if name in counts.index]
    counts.loc[order].astype(int).to_csv(QUALITY / "mutation.csv")
    rank = survivors["module"].map(MODULES.index)
    survivors.assign(rank=rank).sort_values(["rank", "line"]).drop(columns="rank").to_csv(
        QUALITY / "survivors.csv", index=False
    )
    print(counts.loc[order].astype(int).to_string())


def main() -> None:
    """Mutate, test and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=MODULES)
    parser.add_argument("--survivors", action="store_true", help="only those without a reason")
    parser.add_argument("--minutes", type=float, default=180, help="stop after so many")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    table = pd.concat([mutants_of(module) for module in options.modules], ignore_index=True)
    if options.survivors:
        last = read("survivors.csv", [*KEY, "why"])
        keys = pd.MultiIndex.from_frame(last.loc[last["why"] == "", KEY])
        table = table[pd.MultiIndex.from_frame(table[KEY]).isin(keys)]
    for tried in judge(table, options.minutes, options.processes):
        write(tried, options.survivors)


if __name__ == "__main__":
    main()
