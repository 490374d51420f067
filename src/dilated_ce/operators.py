"""Functions as operators of PyTorch, into which compilers and exporters do not look.

They would break their graph at what depends on data (a check of labels), and unroll the loops over
a ball. The operator is the only way to call the function, in eager and in compiled code, so that
callers need not know which it is.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")

_LIBRARY: Any = torch.library.Library("dilated_ce", "FRAGMENT")  # type: ignore[no-untyped-call]


def operator(schema: str, fake: Callable[..., Any]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Register a function without gradients as an operator, `torch.ops.dilated_ce.<name>`.

    Args:
        schema: name, arguments and results in PyTorch's notation.
        fake: empty results of the right shapes and dtypes, from the same arguments, for tracing.
    """
    name = schema.partition("(")[0]

    def register(function: Callable[P, T]) -> Callable[P, T]:
        _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        # Of all backends alike; the results carry no gradient, so none is registered.
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"dilated_ce::{name}", fake)
        call = getattr(torch.ops.dilated_ce, name)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            result: T = call(*args, **kwargs)
            return result

        return run

    return register
