"""What the meta tests know of the house, in one place: the tables to extend, and the sources, parsed once."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core" / "src"

# Layers of the core, first to last: a module may import from its own layer and those before it, at any time.
# Every module stands here; a package stands for the modules in it.
LAYERS: dict[str, list[str]] = {
    "values": ["redaction", "errors", "events", "items", "audio", "_floats", "_g711", "_resample", "config"],
    "decisions": [
        "lifecycle",
        "needs",
        "turns",
        "memory",
        "flow",
        "reconnect",
        "tools",
        "inputs",
        "failures",
        *["vad"],
    ],
    "contracts": ["provider", "hookspecs", "wanted"],
    "edges": [
        *["_playout", "_soundhelp", "_portaudio", "_devicelife", "echo", "devices"],
        *["files", "sources", "_loudness", "_replaced", "_stereo"],
    ],
    "runtime": [
        *["calls", "tasks", "emitter", "streams", "relay", "registry", "plugins", "trace"],
        *["replies", "turnkeeper", "toolloop", "live", "requests"],
        *["attempts", "restoring", "inflow", "session"],
    ],
    "facade": [
        *["sinks", "turntaking"],
        *["_recordingfiles", "_audiorecorder", "recording"],
        "telemetry",
        "comparing",
        "plot",
        "listening",
        "voice",
        "composite",
        "__init__",
        "__main__",
        "cli",
    ],
    "testing": ["testing"],
}
# Imports that may go against the order, and why. "importer -> imported".
LAYER_EXEMPTIONS: dict[str, str] = {}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_BRANCHES = 10
# "path" or "path:function": why it may be longer.
SIZE_EXEMPTIONS: dict[str, str] = {}

# Modules that apps and plugins use beside what `vivavoce` itself exports: their methods have docstrings too.
API_MODULES = [
    "errors",
    "events",
    "items",
    "audio",
    "config",
    "provider",
    "hookspecs",
    "tools",
    "files",
    "testing",
]
# Modules of wire values: each class bears a service's own name for it, and the module says where that is documented.
WIRE_MODULES = [
    "vivavoce_openai_realtime.protocol.client_events",
    "vivavoce_openai_realtime.protocol.response_events",
    "vivavoce_openai_realtime.protocol.server_events",
    "vivavoce_openai_realtime.protocol.values",
]
# Classes whose methods are documented where they are promised.
DOCUMENTED_BY = {
    "CompositeVoice": "vivavoce.voice:Voice",
    "RecordingContext": "vivavoce.provider:Context",
    "ScriptedProvider": "vivavoce.hookspecs:HookSpecs",
}


@dataclass(frozen=True)
class Source:
    """One Python file that is shipped."""

    path: Path
    module: str
    tree: ast.Module
    lines: int

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.module.split("."))


@cache
def read_sources() -> tuple[Source, ...]:
    """Every module under `core/src` and `plugins/*/src`."""
    return tuple(source for base in [CORE, *sorted(ROOT.glob("plugins/*/src"))] for source in read_tree(base))


def read_tree(base: Path) -> Iterator[Source]:
    for path in sorted(base.rglob("*.py")):
        parts = path.relative_to(base).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        yield Source(path, module, ast.parse(text), text.count("\n") + 1)


def core_sources() -> list[Source]:
    return [source for source in read_sources() if source.path.is_relative_to(CORE)]


def layer_of(module: str) -> str | None:
    """The layer of a module of the core; `vivavoce` itself is `__init__`."""
    part = module.split(".")[1] if "." in module else "__init__"
    return next((layer for layer, names in LAYERS.items() if part in names), None)


@dataclass(frozen=True)
class Import:
    """One imported module, with the name taken from it (`None`: the module itself)."""

    module: str
    name: str | None
    line: int
    at_import_time: bool


def read_imports(source: Source) -> list[Import]:
    """Every import of a module; those for the type checker alone are left out."""
    return list(_imports(source, source.tree.body, at_import_time=True))


def _imports(source: Source, body: list[ast.stmt], *, at_import_time: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, node.lineno, at_import_time) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(source, node)
            yield from (Import(origin, alias.name, node.lineno, at_import_time) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(source, node.orelse, at_import_time=at_import_time)
        else:
            later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for part in _bodies(node):
                yield from _imports(source, part, at_import_time=at_import_time and not later)


def _bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        yield getattr(node, field, [])
    for part in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
        yield part.body


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = source.path.name == "__init__.py"
    base = source.module.split(".")
    base = base[: len(base) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def resolve(found: Import, modules: set[str]) -> str | None:
    """The module of ours that an import loads, or `None`."""
    submodule = f"{found.module}.{found.name}"
    if submodule in modules:
        return submodule
    return found.module if found.module in modules else None


def functions_of(source: Source) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method with its qualified name."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield prefix + child.name, child
                yield from walk(child, f"{prefix}{child.name}.")
            else:
                yield from walk(
                    child, f"{prefix}{child.name}." if isinstance(child, ast.ClassDef) else prefix
                )

    return walk(source.tree, "")


def committed_files() -> list[Path]:
    """Every text file that is committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
