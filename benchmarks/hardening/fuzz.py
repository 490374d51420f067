"""Throw random calls, valid and spoilt, at the public functions: `make fuzz`.

    make fuzz                            100,000 draws; writes results/quality/fuzz.csv
    make fuzz ARGS="--draws 5000 --seed 7"
    make fuzz ARGS="--only 4711"         one draw alone, with its arguments and traceback

A valid call has to give what benchmarks/hardening/reference.py gives, with the right dtype and
shape, finite, and with the gradient of the reference. A spoilt one has to be refused with the error
that is due and a message that names the argument and shows what was got.
"""

import argparse
import os
import platform
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import reference
import scipy
import torch
from calls import Call, draw
from faults import are_numbers
from rich.progress import track

import dilated_ce

OUT = Path(__file__).resolve().parents[2] / "results" / "quality" / "fuzz.csv"
CHUNK = 500
SEED_OF_TESTS = 20261125
COMPUTED, REFUSED = "as the reference", "refused as due"


class Mistake(AssertionError):  # noqa: N818
    """What a call did and should not have."""


def judge(call: Call) -> str:
    """Make the call; its outcome, or a `Mistake`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = run(call)
    except Exception as error:
        if not call.faults:
            raise Mistake(f"a valid call was refused: {error!r}") from error
        due = tuple(fault.error for fault in call.faults)
        if type(error) not in due:
            raise Mistake(f"expected {due}, got {error!r}") from error
        if not any(fault.shown in str(error) for fault in call.faults):
            shown = [fault.shown for fault in call.faults]
            raise Mistake(f"the message shows none of {shown}: {error}") from error
        return REFUSED
    if call.faults:
        raise Mistake(f"accepted what is wrong: {call.faults}")
    compare(call, *result)
    return COMPUTED


def run(call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The result and, for a loss, the gradient of its sum."""
    arguments = dict(call.arguments)
    if not call.is_loss:
        return getattr(dilated_ce, call.function)(**arguments), None
    logits, target = arguments.pop("logits"), arguments.pop("target")
    if isinstance(logits, torch.Tensor) and logits.is_floating_point():
        logits = logits.detach().requires_grad_()
    function = getattr(dilated_ce, call.function)
    if isinstance(function, type):  # a module
        loss = function(**arguments)(logits, target)
    else:
        loss = function(logits, target, **arguments)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return loss, gradient


def compare(call: Call, result: torch.Tensor, gradient: torch.Tensor | None) -> None:
    """Fail unless result and gradient are those of the reference."""
    arguments = call.arguments
    if call.function == "dilate_labels":
        expected = reference.masks(arguments)
        _require(result.dtype == torch.bool, f"dtype {result.dtype}")
        _require(np.array_equal(result.numpy(), expected), "masks differ from scipy's")
        return
    if gradient is None:
        expected = reference.weights(arguments)
        _require(result.dtype == torch.float32, f"dtype {result.dtype}")
        close("weights", result, expected, 2e-5, 1e-30)
        return
    expected, slope, counts = reference.loss(arguments)
    dtype = arguments["logits"].dtype
    wide = dtype == torch.float64
    # Volumes and weights that are given are in float32.
    given = are_numbers(arguments.get("volumes")) or arguments["weight"] is not None
    exact = wide and not given
    _require(result.dtype == (dtype if wide else torch.float32), f"dtype {result.dtype}")
    _require(gradient.dtype == dtype, f"dtype {gradient.dtype} of the gradient")
    # Logits cancel, and a sum has the error of its terms.
    logits = arguments["logits"][arguments["logits"].isfinite()].abs().double()
    unit = counts.max(initial=0) if arguments["reduction"] == "none" else counts.sum()
    unit *= max(1.0, float(logits.max()) if logits.numel() else 1.0)
    epsilon = 1e-12 if exact else 1e-6
    close("loss", result, expected, 20 * epsilon, epsilon * unit)
    limits = torch.finfo(dtype)
    if np.abs(slope).max(initial=0) < limits.max:  # which float16 has with very few voxels
        least = epsilon * counts.max(initial=0) + limits.tiny
        close("gradient", gradient, slope, 20 * epsilon + 2 * limits.eps, least)


def close(what: str, ours: torch.Tensor, expected: object, relative: float, least: float) -> None:
    """Fail unless all numbers are finite and within `relative` or `least` of what is expected."""
    found, wanted = ours.detach().double().numpy(), np.asarray(expected)
    _require(found.shape == wanted.shape, f"{what}: shape {found.shape}, expected {wanted.shape}")
    _require(bool(np.isfinite(found).all()), f"{what}: not finite")
    apart = np.abs(found - wanted) - relative * np.abs(wanted) - least
    worst = float(apart.max(initial=0))
    _require(worst <= 0, f"{what}: {worst:.3g} too far from the reference")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise Mistake(message)


def judge_range(seed: int, start: int, stop: int) -> tuple[Counter[tuple[str, ...]], list[str]]:
    """The outcomes of these draws by (function, outcome, argument at fault), and the failures."""
    torch.set_num_threads(1)
    outcomes: Counter[tuple[str, ...]] = Counter()
    failures = []
    for index in range(start, stop):
        call = draw(seed, index)
        try:
            outcome = judge(call)
        except Exception as error:
            failures.append(f"draw {index} of seed {seed}, {call.function}: {error!r}")
            outcome = "failed"
        outcomes[call.function, outcome, call.faults[0].argument if call.faults else ""] += 1
    return outcomes, failures


def judge_all(seed: int, draws: int, processes: int) -> tuple[Counter[tuple[str, ...]], list[str]]:
    """All draws, spread over processes; what kills a process is a failure too."""
    outcomes: Counter[tuple[str, ...]] = Counter()
    failures: list[str] = []
    starts = range(0, draws, CHUNK)
    with ProcessPoolExecutor(processes) as pool:
        jobs = {
            pool.submit(judge_range, seed, start, min(start + CHUNK, draws)): start
            for start in starts
        }
        for job in track(as_completed(jobs), "fuzzing", total=len(jobs)):
            if (error := job.exception()) is not None:
                failures.append(f"draws {jobs[job]} ... of seed {seed}: {error!r}")
                continue
            found, failed = job.result()
            outcomes += found
            failures += failed
    return outcomes, failures


def rows(outcomes: Counter[tuple[str, ...]], seed: int, seconds: float) -> Iterator[str]:
    """The lines of the table."""
    yield "function,outcome,argument,draws,seed,seconds,python,torch,scipy"
    about = f"{seed},{seconds:.0f},{platform.python_version()},{torch.__version__}"
    for key, draws in sorted(outcomes.items()):
        yield ",".join([*key, str(draws), about, scipy.__version__])


def main() -> None:
    """Fuzz, write the table, and say how to see a failure again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--only", type=int, metavar="DRAW", help="make one call alone")
    options = parser.parse_args()
    if options.only is not None:
        call = draw(options.seed, options.only)
        print(call)
        try:
            print(judge(call))
        except Mistake:
            traceback.print_exc()
        return
    start = time.perf_counter()
    outcomes, failures = judge_all(options.seed, options.draws, options.processes)
    if failures:
        print(*failures, sep="\n", file=sys.stderr)
        again = f'make fuzz ARGS="--seed {options.seed} --only NUMBER"'
        raise SystemExit(f"{len(failures)} of {options.draws} draws failed. One alone: {again}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table = "\n".join(rows(outcomes, options.seed, time.perf_counter() - start)) + "\n"
    OUT.write_text(table, encoding="utf-8")
    print(f"{options.draws} draws, no failure: {OUT}")


if __name__ == "__main__":
    main()
