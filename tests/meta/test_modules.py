"""Every module keeps its size, says what it exports, and documents it."""

from __future__ import annotations

import ast
import importlib
import inspect

import pytest
import vivavoce
from house import (
    API_MODULES,
    DOCUMENTED_BY,
    LAYERS,
    MAX_BRANCHES,
    MAX_FILE_LINES,
    MAX_FUNCTION_LINES,
    SIZE_EXEMPTIONS,
    WIRE_MODULES,
    Source,
    functions_of,
    read_sources,
)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case)
PUBLIC = [source for source in read_sources() if source.is_public and source.path.name != "__main__.py"]


def ids(source: Source) -> str:
    return source.module


def defines_nothing(source: Source) -> bool:
    return all(isinstance(node, ast.Expr) for node in source.tree.body)


@pytest.mark.parametrize("source", read_sources(), ids=ids)
def test_file_is_not_too_long(source: Source) -> None:
    """A long file is where a seam is missing."""
    assert source.lines <= MAX_FILE_LINES or source.name in SIZE_EXEMPTIONS


@pytest.mark.parametrize("source", read_sources(), ids=ids)
def test_functions_are_short_and_have_few_branches(source: Source) -> None:
    """A function fits a screen; its docstring does not count."""
    wrong = []
    for name, node in functions_of(source):
        if f"{source.name}:{name}" in SIZE_EXEMPTIONS:
            continue
        lines, branches = count_lines(node), count_branches(node)
        if lines > MAX_FUNCTION_LINES or branches > MAX_BRANCHES:
            wrong.append(f"{name} (line {node.lineno}): {lines} lines, {branches} branches")
    assert wrong == []


def count_lines(node: FunctionNode) -> int:
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def count_branches(node: ast.AST) -> int:
    """Decisions of this function alone, not of those defined in it."""
    total = 0
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            total += isinstance(child, BRANCHING) + count_branches(child)
    return total


@pytest.mark.parametrize("name", ["recording", "_audiorecorder", "_recordingfiles", "telemetry"])
def test_wrapper_that_is_an_example_stays_small(name: str) -> None:
    """The wrappers that show how to write one need less than 200 lines a module."""
    (source,) = (source for source in read_sources() if source.module == f"vivavoce.{name}")
    assert source.lines <= 200


def test_exemptions_are_in_use() -> None:
    """An exemption whose file or function is gone goes too, and each has its reason."""
    names = {source.name for source in read_sources()}
    names |= {f"{source.name}:{name}" for source in read_sources() for name, _ in functions_of(source)}
    assert set(SIZE_EXEMPTIONS) - names == set()
    assert [name for name, reason in SIZE_EXEMPTIONS.items() if len(reason) < 10] == []


@pytest.mark.parametrize("source", [s for s in PUBLIC if not defines_nothing(s)], ids=ids)
def test_exported_names_are_right(source: Source) -> None:
    """`__all__` is there, sorted, without doubles; it holds every public name that is defined here, and all exist."""
    module = importlib.import_module(source.module)
    exported = getattr(module, "__all__", None)
    assert exported is not None, f"{source.name} has no __all__"
    assert len(set(exported)) == len(exported)
    assert [name for name in exported if not hasattr(module, name)] == []
    if source.path.name == "__init__.py":
        return  # a package chooses what it hands on
    # A function that a decorator puts into a registry of its package is reached by that.
    registers = source.module.startswith("vivavoce_conformance.checks")
    defined = {
        node.name
        for node in source.tree.body
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)) and not (registers and node.decorator_list)
    }
    # pytest finds the hooks of a plugin by their names
    assert {name for name in defined if not name.startswith(("_", "pytest_"))} - set(exported) == set()


@pytest.mark.parametrize("source", PUBLIC, ids=ids)
def test_public_things_have_docstrings(source: Source) -> None:
    """Module, exported classes and functions, and the methods of what apps and plugins use, say what they are."""
    missing = [] if ast.get_docstring(source.tree) else ["the module"]
    exported = getattr(importlib.import_module(source.module), "__all__", ())
    for node in source.tree.body:
        if not isinstance(node, (ast.ClassDef, *FUNCTIONS)) or node.name not in exported or is_variant(node):
            continue
        if not ast.get_docstring(node) and not is_wire_value(source, node):
            missing.append(node.name)
        if isinstance(node, ast.ClassDef):
            missing += [f"{node.name}.{method.name}" for method in undocumented_methods(source, node)]
    assert missing == []


def is_wire_value(source: Source, node: ast.ClassDef | FunctionNode) -> bool:
    return isinstance(node, ast.ClassDef) and source.module in WIRE_MODULES


def undocumented_methods(source: Source, node: ast.ClassDef) -> list[FunctionNode]:
    """Public methods without a docstring, in what apps and plugins use. The docstring of a base class counts."""
    package, _, rest = source.module.partition(".")
    if package != "vivavoce" or not (node.name in vivavoce.__all__ or rest.split(".")[0] in API_MODULES):
        return []
    cls = getattr(importlib.import_module(source.module), node.name)
    promised = [cls]
    if node.name in DOCUMENTED_BY:
        module, _, name = DOCUMENTED_BY[node.name].partition(":")
        promised.append(getattr(importlib.import_module(module), name))
    return [
        method
        for method in node.body
        if isinstance(method, FUNCTIONS)
        and not method.name.startswith("_")
        and not is_variant(method)
        and not any(inspect.getdoc(inspect.getattr_static(each, method.name, None)) for each in promised)
    ]


def is_variant(node: ast.ClassDef | FunctionNode) -> bool:
    """An overload or a setter, whose docstring stands at the thing itself."""
    marks = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(mark.endswith(("overload", ".setter")) for mark in marks)


def test_no_module_stands_in_two_layers() -> None:
    """The table of layers names every module once, so an import has one direction."""
    named = [name for names in LAYERS.values() for name in names]
    assert sorted(set(named)) == sorted(named)
