"""Is the loss right and fast on this GPU? One command that needs a checkout and PyTorch alone.

    make gpu                         ten minutes at most; results/gpu/<name of the GPU>/
    make gpu ARGS="--minutes 3"      less of everything

Four parts, each of which writes what it knows as it goes, so that it can be stopped at any time:

    correctness.csv  random calls of both losses on the GPU against the CPU, forward and backward:
                     all dtypes and kinds of targets, eager and compiled, on a stream of their own,
                     in a CUDA graph, on a second GPU if there is one
    speed.csv        forward + backward beside F.cross_entropy, on easy and hard labels; as a loop
                     calls it, replayed from a CUDA graph (which is the work of the GPU alone), and
                     by torch.compile; kernels per call; and whether a call waits for the device,
                     which is an error here
    training.csv     200 steps of a small network on the GPU and on the CPU, from the same weights:
                     the losses of both; the share of a step that the loss takes
    summary.txt      what was found, in sentences, and the machine

It ends with 0 if all is right, and 1 if not. On a machine without a GPU it says so; `--device cpu`
rehearses it.
"""

import argparse
import csv
import math
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dilated_ce import (
    adaptive_dilated_cross_entropy,
    dilate_labels,
    dilated_balanced_cross_entropy,
)

OUT = Path(__file__).resolve().parents[1] / "results" / "gpu"
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
CALLS = 1000
STEPS = 200
WAYS_TIMED = ("ms", "ms_in_graph", "ms_compiled")


class Table:
    """A CSV file that is whole after every row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("", encoding="utf-8")

    def add(self, **row: object) -> None:
        """Write a row; the first one names the columns."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)


class Budget:
    """The time that is left for a part."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> bool:
        """Whether there is any."""
        return time.monotonic() < self.end


def random_call(index: int) -> dict[str, Any]:
    """The arguments of a call: a function of its number alone."""
    draw = random.Random(index)
    generator = torch.Generator().manual_seed(index)
    ndim = draw.randint(1, 3)
    shape = tuple(draw.randint(1, (200, 48, 18)[ndim - 1]) for _ in range(ndim))
    mode = draw.choice(["multiclass"] * 3 + ["multilabel", "binary"])
    classes = {"multiclass": draw.randint(2, 20), "multilabel": draw.randint(1, 5), "binary": 1}[
        mode
    ]
    batch = draw.randint(1, 5)
    dtype = draw.choice(list(TOLERANCE))
    logits = (3 * torch.randn(batch, classes, *shape, generator=generator)).to(dtype)
    if mode == "multiclass":
        target = torch.randint(0, classes, (batch, *shape), generator=generator)
        target *= torch.rand(target.shape, generator=generator) < draw.choice([0.05, 0.3, 1.0])
        if draw.random() < 0.3:
            target = F.one_hot(target, classes).movedim(-1, 1).to(dtype)
        elif draw.random() < 0.5:
            target[torch.rand(target.shape, generator=generator) < 0.2] = -100
    else:
        target = (torch.rand(logits.shape, generator=generator) < 0.2).to(dtype)
    options: dict[str, Any] = {"mode": mode}
    if draw.random() < 0.3:
        options["spacing"] = [draw.choice([0.5, 1.0, 2.5]) for _ in range(ndim)]
    if draw.random() < 0.3:
        options["weight"] = (torch.rand(classes, generator=generator) + 0.1).tolist()
    if draw.random() < 0.2:
        options["label_smoothing"] = 0.1
    options["reduction"] = draw.choice(["mean", "mean", "sum", "none"])
    if draw.random() < 0.5:
        options["radius"] = draw.choice([0.0, 1.0, 2.5, 5.0, 10.0, math.inf])
        options["volumes"] = draw.choice(["batch", "image"])
    return {"logits": logits, "target": target, "options": options, "dtype": dtype}


def loss_of(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Either loss: the paper's where there is a radius."""
    if "radius" in options:
        return dilated_balanced_cross_entropy(logits, target, **options)
    return adaptive_dilated_cross_entropy(logits, target, **options)


def value_and_gradient(
    loss: Callable[..., Tensor], logits: Tensor, target: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    """On the device of the logits."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, target, **options)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    return value.detach(), gradient


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest one, relative to the largest number that is expected.

    Gradients of a mean in float16 may lie where its numbers have few digits (below 6e-5): one step
    of them is no difference.
    """
    kind = torch.finfo(found.dtype)
    step = kind.smallest_normal * kind.eps
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    if found.numel() == 0:
        return 0.0
    scale = max(1e-6, float(expected.abs().max()))
    return max(0.0, float((found - expected).abs().max()) - 1.01 * step) / scale


def check_calls(table: Table, device: str, budget: Budget) -> list[str]:
    """Random calls on the device against the CPU."""
    problems, ways = [], ways_to_call(device)
    for index in range(CALLS):
        if not budget.left:
            problems.append(f"correctness: time for {index} of {CALLS} calls only")
            break
        call = random_call(index)
        expected = value_and_gradient(loss_of, call["logits"], call["target"], **call["options"])
        # A compilation takes a second; the other ways take turns.
        quick = [way for way in ways if way != "compiled"]
        way = "compiled" if index % 40 == 39 else quick[index % len(quick)]
        try:
            found = ways[way](call["logits"], call["target"], call["options"])
            errors = [difference(*pair) for pair in zip(found, expected, strict=True)]
            right = all(error <= TOLERANCE[call["dtype"]] for error in errors)
            note = "" if right else "differs"
        except Exception as error:  # whatever it is, the other calls go on
            errors, right, note = [math.nan, math.nan], False, repr(error)[:200]
        table.add(
            call=index,
            way=way,
            dtype=str(call["dtype"]).removeprefix("torch."),
            shape="x".join(map(str, call["logits"].shape)),
            options=str(call["options"]),
            value_error=errors[0],
            gradient_error=errors[1],
            right=right,
            note=note,
        )
        if not right:
            problems.append(f"call {index} ({way}): {note}")
    for seed in range(20):
        labels = torch.randint(0, 3, (2, 40, 30), generator=torch.Generator().manual_seed(seed))
        radius = [seed / 3, 1.0, 4.0]
        masks = dilate_labels(labels.to(device), radius, num_classes=3)
        if not torch.equal(masks.cpu(), dilate_labels(labels, radius, num_classes=3)):
            problems.append(f"dilated masks of seed {seed} differ")
    return problems


def ways_to_call(device: str) -> dict[str, Callable[[Tensor, Tensor, dict[str, Any]], Any]]:
    """How a loss may be computed on the device, by name."""

    def eager(logits: Tensor, target: Tensor, options: dict[str, Any], to: str = device) -> Any:
        return value_and_gradient(loss_of, logits.to(to), target.to(to), **options)

    def on_a_stream(logits: Tensor, target: Tensor, options: dict[str, Any]) -> Any:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            found = eager(logits, target, options)
        stream.synchronize()
        return found

    def compiled(logits: Tensor, target: Tensor, options: dict[str, Any]) -> Any:
        torch.compiler.reset()
        function = torch.compile(loss_of, backend="aot_eager")
        return value_and_gradient(function, logits.to(device), target.to(device), **options)

    def in_a_graph(logits: Tensor, target: Tensor, options: dict[str, Any]) -> Any:
        # Numbers that the loss would copy to the device are there before the capture.
        on_device = {
            name: torch.tensor(value, device=device) if name == "weight" else value
            for name, value in options.items()
        }
        logits, target = logits.to(device).requires_grad_(), target.to(device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                value_and_gradient(loss_of, logits, target, **on_device)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            value = loss_of(logits, target, **on_device)
            (gradient,) = torch.autograd.grad(value.sum(), logits)
        graph.replay()
        torch.cuda.synchronize()
        return value, gradient

    ways: dict[str, Any] = {"eager": eager}
    if device == "cuda":
        ways |= {"eager again": eager, "stream": on_a_stream, "graph": in_a_graph}
        if torch.cuda.device_count() > 1:
            ways["second GPU"] = lambda *call: eager(*call, to="cuda:1")
    return {**ways, "compiled": compiled}


def label_kinds(shape: tuple[int, ...], classes: int) -> Iterator[tuple[str, Tensor]]:
    """Easy and hard labels, made without other packages."""
    generator = torch.Generator().manual_seed(0)
    side = shape[1]
    axes = torch.meshgrid(*[torch.arange(side)] * (len(shape) - 1), indexing="ij")
    square = sum(axis**2 for axis in axes)
    organ = ((square <= (side * 60 / 128) ** 2).long() * 1).expand(shape)
    halves = (axes[0] >= side // 2).long().expand(shape)
    spots = torch.zeros(shape, dtype=torch.int64)
    centres = torch.randint(0, side, (60, len(shape) - 1), generator=generator)
    for number, centre in enumerate(centres):
        apart = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True))
        spots[:, apart <= (side / 40) ** 2] = 1 + number % (classes - 1)
    yield "spots", spots
    yield "organ", organ.contiguous()
    yield "halves", halves.contiguous()
    yield "noise", torch.randint(0, classes, shape, generator=generator)
    yield "one class", torch.zeros(shape, dtype=torch.int64)


def measure_speed(table: Table, device: str, small: bool, budget: Budget) -> list[str]:
    """Forward + backward of both losses, as a multiple of F.cross_entropy."""
    problems = []
    sizes = [(8, 2, 512, 2, 10), (2, 4, 128, 3, 5), (8, 8, 512, 2, 10), (2, 2, 96, 3, 5)]
    if small:
        sizes = [(1, 2, 16, 2, 4)]
    for number, size in enumerate(sizes):
        batch, classes, side, ndim, radius = size
        shape = (batch, *[side] * ndim)
        logits = torch.randn(batch, classes, *shape[1:], device=device, requires_grad=True)
        for kind, labels in label_kinds(shape, classes):
            labels = labels.to(device)
            methods: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
                "F.cross_entropy": F.cross_entropy,
                "DBCE": partial(dilated_balanced_cross_entropy, radius=radius),
                "Adaptive DBCE": adaptive_dilated_cross_entropy,
            }
            base: dict[str, float] = {}
            for method, loss in methods.items():
                if not budget.left:
                    return [*problems, "speed: the time was over before all was measured"]
                call = partial(backward, partial(loss, logits, labels), logits)
                waits = wait_of(call, device)
                if waits:
                    problems.append(f"{method} waits for the device: {waits}")
                ms = {"ms": milliseconds(call, device)}
                if device == "cuda":
                    ms["ms_in_graph"] = milliseconds(as_graph(loss, logits, labels), device)
                # Compilation takes long: a size in 2D and one in 3D.
                if number < 2 and kind == "spots":
                    fast = compiled_call(loss, logits, labels, problems, method)
                    ms["ms_compiled"] = milliseconds(fast, device)
                base = base or ms
                table.add(
                    size=f"{batch} x {classes} x {side}^{ndim}",
                    radius=radius,
                    labels=kind,
                    method=method,
                    **{way: round(ms.get(way, math.nan), 4) for way in WAYS_TIMED},
                    **{
                        way.replace("ms", "ratio"): round(ms[way] / base[way], 3)
                        if way in ms
                        else math.nan
                        for way in WAYS_TIMED
                    },
                    kernels=count_kernels(call, device),
                    waits=waits,
                )
    return problems


def as_graph(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor
) -> Callable[[], None]:
    """The same work as a CUDA graph, whose replay has one launch."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            torch.autograd.grad(loss(logits, labels), logits)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.autograd.grad(loss(logits, labels), logits)
    return graph.replay


def compiled_call(
    loss: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    labels: Tensor,
    problems: list[str],
    method: str,
) -> Callable[[], None]:
    """The call by torch.compile, compared with the eager one."""
    torch.compiler.reset()
    fast = torch.compile(loss, fullgraph=True)
    (expected,) = torch.autograd.grad(loss(logits, labels), logits)
    (found,) = torch.autograd.grad(fast(logits, labels), logits)
    if difference(found, expected) > TOLERANCE[torch.float32]:
        problems.append(f"{method}, compiled, differs by {difference(found, expected):.2g}")
    return partial(backward, partial(fast, logits, labels), logits)


def backward(loss: Callable[[], Tensor], logits: Tensor) -> None:
    """A call as training makes it."""
    loss().backward()
    logits.grad = None


def milliseconds(call: Callable[[], None], device: str) -> float:
    """The median over rounds of ten calls, as many as a loop would queue."""
    times = []
    for _ in range(12):
        synchronize(device)
        before = time.perf_counter()
        for _ in range(10):
            call()
        synchronize(device)
        times.append(100 * (time.perf_counter() - before))
    return sorted(times[2:])[5]


def count_kernels(call: Callable[[], None], device: str) -> int:
    """What one call has the GPU do; on a CPU operations."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device == "cuda"
    with profile(
        activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    ) as recorded:
        call()
        synchronize(device)
    # Beside what the GPU did there are the calls of the driver that launched it.
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    return sum(event.count for event in recorded.key_averages() if event.device_type == kind)


def wait_of(call: Callable[[], None], device: str) -> str:
    """What a call waits for, as PyTorch finds it; empty if nothing."""
    if device != "cuda":
        return ""
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def synchronize(device: str) -> None:
    """Wait for what was queued."""
    if device == "cuda":
        torch.cuda.synchronize()


def make_network() -> nn.Module:
    """A few convolutions, the same ones in every call."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 3, 1),
    )


def train(device: str, options: dict[str, Any], amp: bool, steps: int) -> tuple[list[float], float]:
    """The losses of the steps, and the share of the time that the loss took."""
    network = make_network().to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    losses, in_loss = [], 0.0
    start = time.perf_counter()
    for _ in range(steps):
        labels = (torch.rand(4, 1, 8, 8, generator=generator) * 3.2).long().clamp(max=2)
        labels = labels.repeat_interleave(8, 2).repeat_interleave(8, 3)
        noise = torch.randn(labels.shape, generator=generator)
        images, target = (labels + noise).to(device), labels[:, 0].to(device)
        with torch.autocast(device, torch.bfloat16, enabled=amp):
            logits = network(images)
            synchronize(device)
            before = time.perf_counter()
            loss = loss_of(logits, target, **options)
            synchronize(device)
            in_loss += time.perf_counter() - before
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, in_loss / (time.perf_counter() - start)


def compare_training(table: Table, device: str, steps: int, budget: Budget) -> list[str]:
    """The same training on the device and on the CPU."""
    problems = []
    for name, options in (("DBCE", {"radius": 4.0}), ("Adaptive DBCE", {})):
        for amp in (False, True):
            if not budget.left:
                return [*problems, "training: the time was over before all was tried"]
            here, share = train(device, options, amp, steps)
            there, _ = train("cpu", options, amp, steps)
            # Rounding grows from step to step; the first ones and the end have to agree.
            early = max(abs(a - b) for a, b in zip(here[:10], there[:10], strict=True))
            late = abs(sum(here[-20:]) - sum(there[-20:])) / 20
            right = early < (0.02 if amp else 1e-3) and late < 0.05 and here[-1] < here[0]
            table.add(
                method=name,
                amp=amp,
                steps=steps,
                first=here[0],
                last=here[-1],
                last_on_cpu=there[-1],
                largest_difference_of_ten=early,
                difference_of_the_end=late,
                share_of_the_loss=round(share, 3),
                right=right,
            )
            if not right:
                problems.append(f"training with {name}{' under AMP' if amp else ''} differs")
    return problems


@contextmanager
def part(name: str, problems: list[str]) -> Iterator[None]:
    """One part of the run; an error in it does not end the others."""
    print(f"{name} ...", flush=True)
    try:
        yield
    except Exception as error:
        problems.append(f"{name} stopped: {error!r}"[:300])


def main() -> int:
    """Run all parts; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all of it")
    parser.add_argument("--small", action="store_true", help="small sizes, to rehearse")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to")
    arguments = parser.parse_args()
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        print(
            f"PyTorch {torch.__version__} sees no GPU here. Expected a CUDA or ROCm build of "
            "PyTorch and a driver; `python -c 'import torch; print(torch.version.cuda)'` tells."
        )
        return 1
    name = torch.cuda.get_device_name() if device == "cuda" else "rehearsal on a CPU"
    folder = arguments.out / name.lower().replace(" ", "-").replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 60 * arguments.minutes
    problems: list[str] = []
    start = time.monotonic()
    with part("correctness", problems):
        problems += check_calls(Table(folder / "correctness.csv"), device, Budget(0.45 * seconds))
    with part("speed", problems):
        table = Table(folder / "speed.csv")
        problems += measure_speed(table, device, arguments.small, Budget(0.3 * seconds))
    with part("training", problems):
        steps = 20 if arguments.small else STEPS
        table = Table(folder / "training.csv")
        problems += compare_training(table, device, steps, Budget(0.2 * seconds))
    capability = torch.cuda.get_device_capability() if device == "cuda" else ""
    lines = [
        f"{name} {capability}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}, ROCm "
        f"{torch.version.hip}, Python {platform.python_version()}",
        f"{time.monotonic() - start:.0f} s",
        *(problems or ["All is right: as on the CPU, and without a wait for the device."]),
    ]
    (folder / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
