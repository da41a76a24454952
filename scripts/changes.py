"""The small changes of a source that a test of it should notice: one at a time, each with a name that stays.

    for change in changes(source):
        change.id       Provider.close: `self._link = None` -> `pass`
        change.line     where it is
        change.source   the whole text with it

A name holds the function, the code before and after, and a number where the same is found twice in a function. So it
outlives edits elsewhere in the file. Left alone: docstrings, annotations, imports, `__all__`, and the words of errors and logs.
"""

from __future__ import annotations

import ast
import collections
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

__all__ = ["SWAPPED", "Change", "changes"]

_SHOWN = 72
SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_WORDS = ("logger", "logging", "print")


class Change(NamedTuple):
    """One change: its name, its line, and the whole source with it."""

    id: str
    line: int
    source: str


def changes(source: str, apart: Collection[str] = ()) -> Iterator[Change]:
    """Every change of `source`, in its order.

    `apart` names functions and classes that are left alone: the functions themselves, and what is done only under an
    `if` that asks about one of them.
    """
    tree = ast.parse(source)
    places = list(_places(tree, [], "", frozenset(apart)))
    seen: collections.Counter[str] = collections.Counter()
    for node, put, where in places:
        for after in _variants(node):
            name = f"{where or 'module'}: {_shown(node)} -> {_shown_after(node, after)}"
            seen[name] += 1
            number = f" #{seen[name]}" if seen[name] > 1 else ""
            put(after)
            yield Change(
                name + number, getattr(node, "lineno", 1), ast.unparse(ast.fix_missing_locations(tree))
            )
            put(node)


Put = Callable[[ast.AST], None]


def _places(
    parent: ast.AST, above: list[ast.AST], where: str, apart: frozenset[str]
) -> Iterator[tuple[ast.AST, Put, str]]:
    """Every node that may change, how another is put in its place, and the function it is in."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "type_comment") or field in _parts_apart(parent, apart):
            continue
        for index, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST) or _is_left_alone(node, [*above, parent]):
                continue
            named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if named and node.name in apart:  # type: ignore[attr-defined]
                continue
            if not _parts_apart(node, apart):
                yield node, _putting(parent, field, index if isinstance(value, list) else None), where
            inner = f"{where}.{node.name}".strip(".") if named else where  # type: ignore[attr-defined]
            yield from _places(node, [*above, parent], inner, apart)


def _parts_apart(node: ast.AST, apart: frozenset[str]) -> tuple[str, ...]:
    """The fields of an `if` that are there for what is set apart: the question, and what follows if it is so."""
    if not isinstance(node, (ast.If, ast.IfExp)):
        return ()
    if not any(isinstance(one, ast.Name) and one.id in apart for one in ast.walk(node.test)):
        return ()
    denied = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
    return ("test", "orelse" if denied else "body")


def _putting(parent: ast.AST, field: str, index: int | None) -> Put:
    def put(node: ast.AST) -> None:
        if index is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[index] = node

    return put


def _is_left_alone(node: ast.AST, above: list[ast.AST]) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.expr_context, ast.JoinedStr)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Expr) and ast.unparse(node).startswith(_WORDS):
        return True
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_words(node, above)


def _is_words(node: ast.Constant, above: list[ast.AST]) -> bool:
    """Whether a text is for people: what an error is made of, but for its code."""
    raised = any(isinstance(one, ast.Raise) for one in above) or any(
        isinstance(one, ast.Call) and ast.unparse(one.func).endswith("Error") for one in above
    )
    return raised or " " in str(node.value)


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    make = _OF.get(type(node))
    return make(node) if make is not None else iter(())


def _operator(node: Any) -> Iterator[ast.AST]:
    yield SWAPPED[type(node)]()


def _compared(node: ast.Compare) -> Iterator[ast.AST]:
    for number, operator in enumerate(node.ops):
        ops = [*node.ops]
        ops[number] = SWAPPED[type(operator)]()
        yield ast.Compare(node.left, ops, node.comparators)


def _calculated(node: ast.BinOp) -> Iterator[ast.AST]:
    text = any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, (str, bytes)))
        for side in (node.left, node.right)
    )
    if type(node.op) in SWAPPED and not text:
        yield ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right)


def _joined(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(SWAPPED[type(node.op)](), node.values)
    for left_out in range(len(node.values)):
        rest = [value for number, value in enumerate(node.values) if number != left_out]
        yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
    elif isinstance(node.value, str):
        yield ast.Constant(node.value + "_")


def _negated(node: Any) -> Iterator[ast.AST]:
    yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))


def _with(node: Any, **fields: Any) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})  # type: ignore[no-any-return]


def _left_out(node: Any) -> Iterator[ast.AST]:
    yield ast.Pass()


def _assigned(node: ast.Assign) -> Iterator[ast.AST]:
    # A name that is never set is an error at once; what is set in an object or a mapping may not be missed.
    if all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets):
        yield ast.Pass()
    elif isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
        for number, target in enumerate(node.targets[0].elts):
            if isinstance(target, ast.Attribute):
                values = [*node.value.elts]
                values[number] = target
                yield ast.Assign(node.targets, ast.Tuple(values, ast.Load()))


def _returned(node: ast.Return) -> Iterator[ast.AST]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield ast.Return(ast.Constant(None))
    if node.value is None:
        yield ast.Pass()


def _called(node: ast.Call) -> Iterator[ast.AST]:
    if not ast.unparse(node.func).endswith("Error"):
        for left_out in range(len(node.keywords)):
            rest = [keyword for number, keyword in enumerate(node.keywords) if number != left_out]
            yield ast.Call(node.func, node.args, rest)


def _decorated(node: Any) -> Iterator[ast.AST]:
    for left_out in range(len(node.decorator_list)):
        rest = [one for number, one in enumerate(node.decorator_list) if number != left_out]
        yield _with(node, decorator_list=rest)


def _tried(node: ast.Try) -> Iterator[ast.AST]:
    if node.finalbody:
        yield _with(node, finalbody=[]) if node.handlers else ast.If(ast.Constant(True), node.body, [])


def _handled(node: ast.ExceptHandler) -> Iterator[ast.AST]:
    if not isinstance(node.body[-1], ast.Raise):
        yield _with(node, body=[ast.Raise()])


def _entered(node: Any) -> Iterator[ast.AST]:
    if all(item.optional_vars is None for item in node.items):
        yield ast.If(ast.Constant(True), node.body, [])


_OF: dict[type, Callable[[Any], Iterator[ast.AST]]] = {
    ast.Compare: _compared,
    ast.BinOp: _calculated,
    ast.BoolOp: _joined,
    ast.Constant: _constant,
    ast.If: _negated,
    ast.IfExp: _negated,
    ast.While: _negated,
    ast.Expr: _left_out,
    ast.AugAssign: _left_out,
    ast.Raise: _left_out,
    ast.Break: _left_out,
    ast.Continue: _left_out,
    ast.Delete: _left_out,
    ast.Assign: _assigned,
    ast.Return: _returned,
    ast.Call: _called,
    ast.FunctionDef: _decorated,
    ast.AsyncFunctionDef: _decorated,
    ast.Try: _tried,
    ast.ExceptHandler: _handled,
    ast.With: _entered,
    ast.AsyncWith: _entered,
}


def _shown_after(node: ast.AST, after: ast.AST) -> str:
    if isinstance(node, ast.Call) and isinstance(after, ast.Call):
        left_out = [keyword.arg or "**" for keyword in node.keywords if keyword not in after.keywords]
        return f"without {left_out[0]}="
    return _shown(after)


def _shown(node: ast.AST) -> str:
    """The first line of the code, shortened."""
    shown: Any = node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return f"`{' '.join('@' + ast.unparse(one) for one in node.decorator_list)} def {node.name}`"
    if isinstance(node, (ast.If, ast.While)):
        shown = node.test
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        shown = node.items[0].context_expr
    elif isinstance(node, ast.Try):
        return "`try ... finally`" if node.finalbody else "`try`"
    elif isinstance(node, ast.ExceptHandler):
        body = ast.unparse(node.body[0]).splitlines()[0]
        return f"`except {ast.unparse(node.type) if node.type else ''}: {body}`"
    text = " ".join(ast.unparse(ast.fix_missing_locations(shown)).split())
    return f"`{text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}`"
