"""Which code runs: plain PyTorch or Triton kernels, and what compilers do not look into."""

import functools
import importlib.util
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def has_kernels(tensor: Tensor) -> bool:
    """Whether there are Triton kernels for the device of this tensor, and any voxel for them."""
    return tensor.device.type == "cuda" and tensor.numel() > 0 and _triton_is_installed()


@functools.cache
def _triton_is_installed() -> bool:
    # It comes with PyTorch for CUDA on Linux, not on Windows.
    return importlib.util.find_spec("triton") is not None


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
