"""Which code runs: plain PyTorch or Triton kernels, and what compilers do not look into."""

import functools
import importlib.util
import math
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def has_kernels(labels: Tensor) -> bool:
    """Whether Triton kernels take these labels (B, *spatial), or plain PyTorch.

    They run on a GPU, for at least one voxel, and up to sizes that keep to the limits of CUDA's
    grids and of 32 bits. With DILATED_CE_TRITON=0 in the environment they take none.
    """
    if labels.device.type != "cuda" or not _triton_is_wanted():
        return False
    batch, *shape = labels.shape
    size = math.prod(shape)
    return 0 < batch <= 256 and 0 < size < 2**30 and math.prod(shape[-2:]) <= 2**25


@functools.cache
def _triton_is_wanted() -> bool:
    # It comes with PyTorch for CUDA on Linux, not on Windows.
    installed = importlib.util.find_spec("triton") is not None
    return installed and os.environ.get("DILATED_CE_TRITON") != "0"


def opaque_when_compiled(
    schema: str, fake: Callable[P, T]
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Register a function as an operator of PyTorch, and call it as such in compiled code.

    The compiler would break its graph at what depends on the data (a count, a check of the labels)
    and unroll the loops over the ball. Eager code calls the function itself, as the dispatch of a
    custom operator costs as much as a kernel.

    Args:
        schema: the arguments and results in PyTorch's notation.
        fake: gives empty results of the right shapes and dtypes, for the compiler.
    """

    def register(function: Callable[P, T]) -> Callable[P, T]:
        operator = torch.library.custom_op(
            f"dilated_ce::{function.__name__}", function, mutates_args=(), schema=schema
        )
        operator.register_fake(fake)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if torch.compiler.is_compiling():
                return operator(*args, **kwargs)  # type: ignore[no-any-return]
            return function(*args, **kwargs)

        return call

    return register
