"""Compile every Triton kernel for a GPU that need not be here: BACKEND ARCHITECTURE WARP_SIZE."""

import inspect
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dilated_ce import _triton_dilation_kernels as dilation
from dilated_ce import _triton_loss_kernels as loss

POINTERS = {
    "segments": "*u8",
    "slices": "*u8",
    "planes": "*u8",
    "tally": "*i64",
    "volumes": "*i64",
    "table": "*i32",
    "partials": "*fp32",
    "loss": "*fp32",
    "gradient": "*fp32",
    "smoothing": "fp32",
}


def cases():
    """Each kernel with the types of its labels and logits, and its constants."""
    for num_classes, ignore, labels, logits in (
        (2, True, "*i64", "*fp16"),
        (8, False, "*u8", "*fp32"),
        (20, True, "*i16", "*bf16"),
    ):
        layout = {
            "IGNORE": ignore,
            "NUM_CLASSES": num_classes,
            "LANES": max(1, 8 // num_classes),
            "DEPTH": -(-num_classes // 8),
        }
        word = {"WORD": 4 if ignore else 1, "BLOCK": 1024, "OTHERS": not ignore}
        scope = {"LARGEST": not ignore, "BY_IMAGE": ignore, "CP": 32, "RP": 4, "BLOCK": 128}
        yield dilation.grow_segments, labels, logits, {
            **layout, "PACK": True, "ROWS": 2, "COLUMNS": 512,
        }  # fmt: skip
        yield dilation.stack_rows, labels, logits, {
            **layout, **word, "MORE": ignore, "LAST": ignore,
        }  # fmt: skip
        yield dilation.stack_rows, labels, logits, {
            **layout, **word, "MORE": not ignore, "LAST": not ignore,
        }  # fmt: skip
        yield dilation.stack_slices, labels, logits, {**layout, **word}
        yield loss.sum_loss, labels, logits, {
            **layout, **scope, "SMOOTH": ignore, "SUM": ignore,
        }  # fmt: skip
        yield loss.write_gradient, labels, logits, {**layout, **scope}


def typed(names, types, constants):
    """Types and constants of a kernel's arguments, as this version of Triton takes them."""
    if "constexprs" in inspect.signature(ASTSource).parameters:
        return {
            "signature": {n: "constexpr" if n in constants else types.get(n, "i32") for n in names},
            "constexprs": {(names.index(name),): value for name, value in constants.items()},
        }
    return {  # Triton 3.0 and 3.1
        "signature": {
            index: types.get(name, "i32")
            for index, name in enumerate(names)
            if name not in constants
        },
        "constants": {names.index(name): value for name, value in constants.items()},
    }


def main(backend, architecture, warp_size):
    """Print the name of each kernel once it is compiled, and whether it can assert."""
    architecture = int(architecture) if architecture.isdecimal() else architecture
    for kernel, labels, logits, constants in cases():
        types = {**POINTERS, "labels": labels, "target": labels}
        types |= {"logits": logits, "logits_gradient": logits}
        source = ASTSource(kernel, **typed(kernel.arg_names, types, constants))
        compiled = triton.compile(
            source,
            target=GPUTarget(backend, architecture, int(warp_size)),
            options={"debug": kernel.debug},
        )
        assembly = compiled.asm["ptx" if backend == "cuda" else "amdgcn"]
        print(kernel.__name__ + ":asserts" * ("__assertfail" in assembly))


if __name__ == "__main__":
    main(*sys.argv[1:])
