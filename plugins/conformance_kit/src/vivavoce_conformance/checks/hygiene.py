"""What importing and stating costs: measured in a fresh interpreter, with Python's own audit events."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from typing import Any

import msgspec
from vivavoce import Voice, registry
from vivavoce.errors import ConfigError, VoiceError
from vivavoce.provider import CAPABILITIES, Session
from vivavoce.relay import HOOKS
from vivavoce.testing import LeakError, LeakGuard

from vivavoce_conformance.bench import Bench
from vivavoce_conformance.registry import Unmet, expect, family

__all__ = [
    "acts_only_as_declared",
    "attaches_passively",
    "constructs_without_opening",
    "implements_what_it_states",
    "imports_nothing_heavy",
    "imports_quickly",
    "imports_silently",
    "imports_without_io",
    "imports_without_threads",
    "keeps_no_class_state",
    "names_missing_credentials",
    "raises_when_strict",
    "refuses_unknown_config",
    "states_credentials",
    "states_known_capabilities",
    "states_the_same",
    "warns_once",
]

hygiene = family("import hygiene")

HOOKS_OF = {
    "realtime": ("connect", "close"),
    "turns": ("answer",),
    "text": ("send_text",),
    "interrupt": ("interrupt",),
    "tools": ("return_tool_result",),
    "speak": ("speak",),
    "listen": ("listen",),
}


_told: dict[str, dict[str, Any]] = {}
# As they were before the provider was imported: an interpreter that inherits its changes would not see them.
_ENVIRONMENT, _FOLDER = dict(os.environ), os.getcwd()


async def _imported(bench: Bench) -> dict[str, Any]:
    """What the import did; the same interpreter's word for all checks."""
    spec = bench.target.spec
    if spec not in _told:
        _told[spec] = await _import(bench)
    return _told[spec]


async def _import(bench: Bench) -> dict[str, Any]:
    """Import the provider in an interpreter that does nothing else."""
    environment = _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vivavoce_conformance.watch", bench.target.spec,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=environment, cwd=_FOLDER,
    )  # fmt: skip
    out, _ = await process.communicate()
    lines = out.strip().splitlines()
    expect(lines, f"the import ended the process (status {process.returncode})")
    told: dict[str, Any] = msgspec.json.decode(lines[-1])
    return told


@hygiene("VV-CON-001")
async def imports_without_io(bench: Bench) -> None:
    """Importing the provider opens no socket, starts no process, and writes no file."""
    told = await _imported(bench)
    expect(not told["io"], f"on import: {'; '.join(told['io'])}")


@hygiene("VV-CON-002")
async def imports_without_threads(bench: Bench) -> None:
    """Importing the provider starts no thread."""
    told = await _imported(bench)
    expect(not told["threads"], f"threads after the import: {', '.join(told['threads'])}")


@hygiene("VV-CON-003")
async def imports_nothing_heavy(bench: Bench) -> None:
    """Importing the provider imports no network, audio or numeric package: those come with first use."""
    told = await _imported(bench)
    expect(not told["heavy"], f"imported: {', '.join(told['heavy'])}")


@hygiene("VV-CON-004", level="SHOULD")
async def imports_quickly(bench: Bench) -> None:
    """Importing the provider takes less than half a second of processor time."""
    told = await _imported(bench)
    expect(told["seconds"] < 0.5, f"{told['seconds']:.2f} s")


@hygiene("VV-CON-005")
async def imports_silently(bench: Bench) -> None:
    """Importing the provider prints nothing and leaves logging, warnings, signals and the environment as they were."""
    told = await _imported(bench)
    expect(not told["printed"], f"printed on import: {told['printed']!r}")
    expect(not told["changed"], f"changed on import: {', '.join(told['changed'])}")


@hygiene("VV-CON-006", level="SHOULD")
async def states_known_capabilities(bench: Bench) -> None:
    """Every capability it states is one that this API level knows."""
    unknown = sorted(frozenset(bench.target.provider.capabilities) - CAPABILITIES)
    expect(not unknown, f"unknown: {', '.join(unknown)}")


@hygiene("VV-CON-007")
async def constructs_without_opening(bench: Bench) -> None:
    """Constructing a `Voice` starts no task, no thread and no process, and opens no descriptor."""
    guard = LeakGuard()
    try:
        async with guard:
            bench.voice()
            bench.voice()
    except LeakError as leaked:
        raise Unmet(str(leaked)) from None


@hygiene("VV-CON-008")
async def implements_what_it_states(bench: Bench) -> None:
    """Each capability it states has its hooks."""
    provider = bench.target.provider
    owner = provider if isinstance(provider, type) else type(provider)
    marked = {name for name in HOOKS if hasattr(getattr(owner, name, None), "vivavoce_impl")}
    for capability in sorted(bench.capabilities & HOOKS_OF.keys()):
        missing = [hook for hook in HOOKS_OF[capability] if hook not in marked]
        expect(not missing, f"{capability!r} is stated, but there is no hook {', '.join(missing)}")


@hygiene("VV-CON-009", any_of="realtime speak listen")
async def refuses_unknown_config(bench: Bench) -> None:
    """An unknown config key is a `ConfigError`."""
    try:
        bench.voice(vivavoce_conformance_unknown=1)
    except ConfigError:
        return
    raise Unmet("a key that nobody knows was accepted")


@hygiene("VV-CON-010", any_of="realtime speak listen")
async def keeps_no_class_state(bench: Bench) -> None:
    """Two voices share nothing: each has a provider object of its own, without state in the class."""
    provider = bench.target.provider
    expect(isinstance(provider, type), "the entry point is an object: every voice would share it")
    before = {name: repr(value) for name, value in vars(provider).items()}
    first, second = bench.new_provider(), bench.new_provider()
    expect(first is not second, "two constructions gave the same object")
    shared = [
        name
        for name, value in vars(first).items()
        if isinstance(value, (list, dict, set, bytearray)) and value is vars(second).get(name)
    ]
    expect(not shared, f"shared by two objects: {', '.join(shared)}")
    changed = [name for name, value in vars(provider).items() if before.get(name) != repr(value)]
    expect(not changed, f"the class changed on construction: {', '.join(changed)}")


@hygiene("VV-CON-011")
async def states_credentials(bench: Bench) -> None:
    """`credentials` maps config keys to names of environment variables."""
    stated = getattr(bench.target.provider, "credentials", None) or {}
    for key, variable in dict(stated).items():
        good = isinstance(variable, str) and variable.isupper() and " " not in variable
        expect(isinstance(key, str) and good, f"{key!r}: {variable!r} is no name of an environment variable")


@hygiene("VV-CON-012", peer=True, needs="realtime")
async def names_missing_credentials(bench: Bench) -> None:
    """A missing credential is a `ConfigError` that names its variable, before anything is dialled."""
    stated = dict(getattr(bench.target.provider, "credentials", None) or {})
    if not stated:
        return
    kept = {name: os.environ.pop(name, None) for name in stated.values()}
    try:
        config = {key: value for key, value in bench.config().items() if key not in stated}
        spec = bench.target.provider if ":" in bench.target.spec else bench.target.name
        voice = Voice(spec, **config)
        await voice.connect(timeout=4_000)
        await voice.close()
        raise Unmet("connect() succeeded without a credential")
    except ConfigError as error:
        named = [name for name in stated.values() if name in str(error)]
        expect(named, f"the error names none of {', '.join(stated.values())}: {error}")
    except VoiceError as error:
        raise Unmet(f"{type(error).__name__} instead of ConfigError: {error}") from None
    finally:
        os.environ.update({name: value for name, value in kept.items() if value is not None})
    seen = await bench.peer.seen()
    expect(seen.connections == 0, "it dialled without a credential")


@hygiene("VV-CON-013")
async def states_the_same(bench: Bench) -> None:
    """Its capabilities are the same whenever they are asked for: of the class, of its objects, and of a voice."""
    stated = bench.capabilities
    told = {
        "the class, asked again": bench.capabilities,
        "an object of it": registry.capabilities_of(bench.new_provider()),
        "a voice": bench.voice().capabilities,
    }
    other = [
        f"{who} says {', '.join(sorted(what)) or 'none'}" for who, what in told.items() if what != stated
    ]
    expect(not other, f"the class says {', '.join(sorted(stated)) or 'none'}, but {'; '.join(other)}")


warning_rule = family("warning rule")

_CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "connect": ("realtime", ()),
    "send": ("realtime", (b"\x00\x00" * 480,)),
    "send_text": ("text", ("hello",)),
    "answer": ("turns realtime", ()),
    "interrupt": ("interrupt", ()),
    "commit_input": ("turns", ()),
    "clear_input": ("turns", ()),
    "add_tools": ("tools", ([],)),
    "add_instructions": ("realtime", ("Be brief.",)),
    "update_config": ("realtime", ()),
    "send_event": ("realtime", ("nothing",)),
    "speak": ("speak", ("hello",)),
    "listen": ("listen", (b"\x00\x00" * 480,)),
    "get_speakers": ("speak", ()),
    "get_listener": ("listen", ()),
}
_HOOK_ARGUMENTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "send": ("realtime", (b"\x00\x00" * 480,)),
    "answer": ("turns realtime", ({},)),
    "connect": ("realtime", ({},)),
    "send_text": ("text", ("hello", "user")),
    "interrupt": ("interrupt realtime", (None,)),
    "commit_input": ("turns", ()),
    "clear_input": ("turns", ()),
    "send_event": ("realtime", ("nothing", {})),
    "update_config": ("realtime", ({},)),
    "return_tool_result": ("tools realtime", ("call", "{}")),
    "speak": ("speak", ("hello", {"speaker": None})),
    "listen": ("listen", (None, {})),
    "get_speakers": ("speak", ()),
    "get_listener": ("listen", ()),
}


def _undeclared(bench: Bench, table: dict[str, tuple[str, tuple[Any, ...]]]) -> list[str]:
    return [name for name, (needs, _) in table.items() if not set(needs.split()) & bench.capabilities]


@warning_rule("VV-CON-020")
async def acts_only_as_declared(bench: Bench) -> None:
    """A hook whose capability is not declared does nothing but warn: it returns `None`, emits nothing, opens nothing."""
    from vivavoce.testing import RecordingContext

    provider = bench.new_provider()
    for name in _undeclared(bench, _HOOK_ARGUMENTS):
        hook = getattr(provider, name, None)
        if hook is None or not hasattr(hook, "vivavoce_impl"):
            continue
        context = RecordingContext(session=Session(provider=bench.target.name))
        arguments = dict(zip(_names(name), (context, *_HOOK_ARGUMENTS[name][1]), strict=True))
        taken = inspect.signature(hook).parameters
        try:
            async with LeakGuard():
                result = hook(**{key: value for key, value in arguments.items() if key in taken})
                if inspect.isawaitable(result):
                    result = await asyncio.wait_for(result, 5)
        except Exception as raised:
            raise Unmet(f"{name}() is not declared, but acts: {type(raised).__name__}: {raised}") from None
        expect(result is None, f"{name}() is not declared, but returns {type(result).__name__}")
        expect(not context.events, f"{name}() is not declared, but emits {context.events[:1]}")


def _names(hook: str) -> list[str]:
    from vivavoce.hookspecs import HookSpecs

    return [name for name in inspect.signature(getattr(HookSpecs, hook)).parameters if name != "self"]


@warning_rule("VV-CON-021")
async def warns_once(bench: Bench) -> None:
    """An unsupported call gives one WARNING a method, returns at once with its empty value, and leaves the state `idle`."""
    from vivavoce_conformance.bench import Recording, within

    voice = bench.voice()
    recording = Recording()
    logging.getLogger("vivavoce").addHandler(recording)
    try:
        for name in _undeclared(bench, _CALLS):
            for times in ("once", "twice"):
                await within(getattr(voice, name)(*_CALLS[name][1]), f"{name}()")
                count = recording.warnings_of(name)
                expect(count == 1, f"{name}(), called {times}, warned {count} times instead of once")
            expect(voice.state == "idle", f"after {name}() the state is {voice.state!r}")
    finally:
        logging.getLogger("vivavoce").removeHandler(recording)


@warning_rule("VV-CON-022")
async def raises_when_strict(bench: Bench) -> None:
    """With `strict=True` an unsupported call raises `UnsupportedError`."""
    from vivavoce.errors import UnsupportedError

    voice = bench.voice(strict=True)
    for name in _undeclared(bench, _CALLS):
        try:
            await getattr(voice, name)(*_CALLS[name][1])
        except UnsupportedError:
            continue
        raise Unmet(f"{name}() did not raise")


@warning_rule("VV-CON-023")
async def attaches_passively(bench: Bench) -> None:
    """Listening and closing need no capability: `on`, `off` and `close` on a fresh voice do nothing visible, and never warn."""
    from vivavoce_conformance.bench import Recording, within

    recording = Recording()
    logging.getLogger("vivavoce").addHandler(recording)
    try:
        voice = bench.voice()
        for event in ("speaking", "error", "turn", f"{bench.target.name}:*"):
            voice.on(event, bench.events.append)
            voice.off(event, bench.events.append)
        await within(voice.close(), "close()")
        warned = [r.getMessage() for r in recording.records if r.levelno >= logging.WARNING]
        expect(not warned, f"warned: {warned[:1]}")
        expect(not bench.events, f"emitted {bench.events[:1]}")
        expect(voice.state in ("idle", "closed"), f"the state is {voice.state!r}")
    finally:
        logging.getLogger("vivavoce").removeHandler(recording)
