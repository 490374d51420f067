"""One small change to a module at a time: what a test suite has to notice.

The changes are made on the syntax tree: a comparison moved by one or negated, an operator replaced
by its counterpart, a number by the next one, a condition by its opposite, a statement, a keyword or
a negation left out, min for max, and the like. Left alone are annotations, docstrings and the
wording of errors, on which no result depends.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

SWAPPED_OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
SWAPPED_NAMES = {
    "min": "max",
    "max": "min",
    "amin": "amax",
    "amax": "amin",
    "all": "any",
    "any": "all",
    "sum": "amax",
    "maximum": "minimum",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "zeros": "ones",
    "ones": "zeros",
    "new_zeros": "new_ones",
    "floor": "ceil",
    "ceil": "floor",
    "round": "floor",
    "bitwise_or_": "bitwise_and_",
    "bitwise_and_": "bitwise_or_",
    "float32": "float16",
    "float64": "float32",
    "double": "float",
}


@dataclass(frozen=True)
class Mutant:
    """A changed module."""

    line: int
    before: str
    after: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    places = sorted(_places(tree), key=lambda place: place[0].lineno)
    for node, changed in places:
        before = ast.unparse(node)
        saved = copy.copy(node.__dict__), node.__class__
        node.__class__ = changed.__class__
        node.__dict__ = changed.__dict__
        after, text = ast.unparse(node), ast.unparse(tree)
        node.__class__, node.__dict__ = saved[1], saved[0]
        if after != before:
            yield Mutant(node.lineno, before, after, text)


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node to change, and what comes in its place."""
    for node in _reachable(tree):
        for changed in _changes(node):
            yield node, ast.copy_location(changed, node)


def _reachable(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that results depend on."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment", "decorator_list"):
            continue
        if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
            continue
        if isinstance(node, ast.Assert) and name == "msg":
            continue
        for child in value if isinstance(value, list) else [value]:
            docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not docstring:
                yield from _reachable(child)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may come in the place of one node."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op):
            for other in SWAPPED_OPERATORS.get(type(op), ()):
                yield _with(node, op=other())
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                for other in SWAPPED_OPERATORS.get(type(op), ()):
                    yield _with(node, ops=[*ops[:index], other(), *ops[index + 1 :]])
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(value=str(value)) if value.isidentifier():
            yield ast.Constant(value + "_")
        case ast.Name(id=name) if name in SWAPPED_NAMES:
            yield _with(node, id=SWAPPED_NAMES[name])
        case ast.Attribute(attr=name) if name in SWAPPED_NAMES:
            yield _with(node, attr=SWAPPED_NAMES[name])
        case ast.Call(keywords=keywords):
            for keyword in keywords:
                if keyword.arg == "device":  # there is one here
                    continue
                yield _with(node, keywords=[other for other in keywords if other is not keyword])
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
        node.test,
        ast.Compare | ast.UnaryOp,  # whose own changes say the opposite, too
    ):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break):
        yield ast.Pass()
    if isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    changed.__dict__ = {**node.__dict__, **fields}
    return changed
