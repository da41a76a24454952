"""Finds providers, wrappers and commands by their entry points. Reading a list imports nothing.

Names are compared without case, `_`, `-` and `.`. Only the provider that is asked for is imported, in isolation: what
goes wrong there is a `ProviderLoadError` that names the distribution, and everyone else works.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from vivavoce.audio import PCM16_24K, AudioFormat
from vivavoce.config import nearest
from vivavoce.errors import ProviderLoadError, ProviderNotFoundError
from vivavoce.provider import CAPABILITIES, SUPPORTED_API_LEVELS
from vivavoce.redaction import get_logger
from vivavoce.relay import check_plugin

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = [
    "COMMANDS",
    "PLUGINS",
    "PROVIDERS",
    "Found",
    "allowed",
    "capabilities_of",
    "check_provider",
    "credentials_of",
    "entries",
    "find",
    "forget",
    "load",
    "normalize",
]

logger = get_logger("vivavoce.registry")

PROVIDERS = "vivavoce.providers"
PLUGINS = "vivavoce.plugins"
COMMANDS = "vivavoce.commands"
_STATED = {
    "config_class": "a class whose constructor takes the config keys",
    "credentials": 'a mapping of config keys to variables, such as {"api_key": "MY_API_KEY"}',
    "connect_options": "a set of names",
    "input_format": "an AudioFormat",
    "output_format": "an AudioFormat",
}
_HOW = {PROVIDERS: "provider", PLUGINS: "plugin", COMMANDS: "command"}


@lru_cache(maxsize=1024)
def normalize(name: str) -> str:
    """The form in which names are compared (as PEP 503 does for distributions)."""
    return re.sub(r"[-_.]+", "-", name).strip("-").lower()


def _bare(name: str) -> str:
    """A name without what does not matter in it, for those who leave it out."""
    return normalize(name).replace("-", "")


class Found(msgspec.Struct, frozen=True):
    """An entry point: what a plugin says of itself in its metadata."""

    name: str
    group: str
    distribution: str
    version: str
    requires: tuple[str, ...]
    entry_point: EntryPoint

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}, entry point {self.name} = {self.entry_point.value}"


_loaded: dict[tuple[str, str, str], Any] = {}


def entries(group: str = PROVIDERS) -> tuple[Found, ...]:
    """Everything installed in a group, sorted by name; imports none of it."""
    return _entries(group, tuple(sys.path))


@lru_cache(maxsize=16)
def _entries(group: str, path: tuple[str, ...]) -> tuple[Found, ...]:
    from importlib.metadata import distributions  # 20-40 ms of import: on first use

    found: dict[tuple[str, str], Found] = {}
    seen: set[str] = set()
    for distribution in distributions():
        try:
            for entry in _offered(distribution, group, seen):
                found.setdefault((entry.name, entry.distribution), entry)
        except Exception as bad:  # one that cannot be read must not hide the others
            logger.warning("the metadata of an installed distribution cannot be read: %s", bad)
    return tuple(sorted(found.values(), key=lambda entry: (entry.name, entry.distribution)))


def _offered(distribution: Distribution, group: str, seen: set[str]) -> list[Found]:
    text = distribution.read_text("entry_points.txt")
    if not text or group not in text:
        return []
    metadata = distribution.metadata
    name = str(metadata["Name"] or "unknown")
    if normalize(name) in seen:
        return []  # shadowed by an earlier one on sys.path
    version, requires = str(metadata["Version"] or "?"), tuple(distribution.requires or ())
    points = [point for point in distribution.entry_points if point.group == group]
    seen.add(normalize(name))
    return [Found(point.name, group, name, version, requires, point) for point in points]


def forget() -> None:
    """Read the metadata anew at the next look-up (after an installation in this process)."""
    _entries.cache_clear()
    _called.cache_clear()
    _loaded.clear()


def _listed(variable: str) -> frozenset[str] | None:
    value = os.environ.get(variable)
    if not value:
        return None
    return frozenset(_bare(name) for name in value.split(",") if name.strip()) or None


def _refusal(name: str) -> str | None:
    """Why the environment forbids a plugin, or `None`. The null provider is never forbidden."""
    name = _bare(name)
    if name == "null":
        return None
    allowed, denied = _listed("VIVAVOCE_PLUGINS"), _listed("VIVAVOCE_DISABLE_PLUGINS")
    if denied is not None and name in denied:
        return "VIVAVOCE_DISABLE_PLUGINS names it"
    if allowed is not None and name not in allowed:
        return "VIVAVOCE_PLUGINS does not name it"
    return None


def find(name: str, group: str = PROVIDERS) -> Found:
    """The one entry with this name. Raises `ProviderNotFoundError`, or `ProviderLoadError` for a conflict."""
    found = _called(name, group, tuple(sys.path))
    if not found:
        raise ProviderNotFoundError(_missing(name, group))
    refusal = _refusal(found[0].name)
    if refusal is not None:
        raise ProviderNotFoundError(f"{_HOW[group]} {name!r} is installed but not allowed: {refusal}")
    if len(found) > 1:
        origins = " and ".join(entry.origin for entry in found)
        raise ProviderLoadError(
            f"{_HOW[group]} {name!r} is there twice: {origins}. Uninstall one of them", provider=name
        )
    return found[0]


@lru_cache(maxsize=256)
def _called(name: str, group: str, path: tuple[str, ...]) -> tuple[Found, ...]:
    """Those with this name, else those with it but for what does not matter."""
    found, wanted = _entries(group, path), normalize(name)
    same = tuple(entry for entry in found if normalize(entry.name) == wanted)
    return same or tuple(entry for entry in found if _bare(entry.name) == _bare(name))


def _missing(name: str, group: str) -> str:
    known = sorted({entry.name for entry in entries(group) if _refusal(normalize(entry.name)) is None})
    meant = nearest(normalize(name), [normalize(k) for k in known])
    kind = _HOW[group]
    listed = ", ".join(known) or "none"
    how = f"`pip install vivavoce-{normalize(name)}`" if group == PROVIDERS else "its distribution"
    if meant:  # to install what is misspelt would be a stranger's package
        return f"no {kind} is named {name!r}. Did you mean {meant!r}? Installed: {listed}"
    return f"no {kind} is named {name!r}. Installed: {listed}. To install one: {how}, or whatever distribution offers it"


def load(name: str, group: str = PROVIDERS) -> tuple[Any, Found]:
    """Import and check the plugin with this name. What it raises, `SystemExit` too, becomes a `ProviderLoadError`."""
    found = find(name, group)
    key = (group, found.name, found.distribution)
    known = _loaded.get(key)
    if known is not None:
        return known, found
    conflict = _conflict(found)
    if conflict is not None:
        raise ProviderLoadError(
            f"{found.origin}: it needs {conflict}; install versions that fit", provider=found.name
        )
    try:
        plugin = found.entry_point.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as bad:
        text = f"{found.origin} cannot be imported: {type(bad).__name__}: {bad}"
        raise ProviderLoadError(
            f"{text}. `vivavoce doctor {found.name}` shows more", provider=found.name
        ) from bad
    try:
        if group == PROVIDERS:
            check_provider(plugin, found.origin)
        elif group == PLUGINS:
            check_plugin(plugin, found.origin, provider=False)
    except ProviderLoadError as bad:
        bad.provider = found.name
        raise
    _loaded[key] = plugin
    return plugin, found


def _conflict(found: Found) -> str | None:
    """A requirement on the core that the core does not meet, read from the plugin's metadata."""
    from importlib.metadata import PackageNotFoundError, version

    for requirement in found.requires:
        match = re.match(r"vivavoce\s*(\[[^\]]*\])?\s*\(?([<>=!~][^;)]*)", requirement, re.I)
        if match is None or "extra ==" in requirement:
            continue
        try:
            have = version("vivavoce")
        except PackageNotFoundError:
            return None
        if not _meets(have, match[2]):
            return f"vivavoce {match[2].strip()}, but {have} is installed"
    return None


def _meets(version: str, specifiers: str) -> bool:
    """Compare release numbers; a form that is not understood counts as met, since the installer has judged it."""
    have = _release(version)
    for part in specifiers.split(","):
        match = re.match(r"\s*(>=|<=|==|!=|~=|<|>)\s*([0-9.]+)(\.\*)?\s*$", part)
        if match is None:
            continue
        want = _release(match[2])
        size = max(len(have), len(want))
        a, b = have + (0,) * (size - len(have)), want + (0,) * (size - len(want))
        same = have[: len(want)] == want if match[3] else a == b
        compatible = a >= b and have[: max(1, len(want) - 1)] == want[: max(1, len(want) - 1)]
        verdicts = {
            ">=": a >= b,
            "<=": a <= b,
            "==": same,
            "!=": not same,
            "~=": compatible,
            "<": a < b,
            ">": a > b,
        }
        if not verdicts[match[1]]:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version.strip())
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


def check_provider(provider: object, origin: str) -> None:
    """Check the API level, the capabilities and the hooks of a provider class or object, before it is used."""
    api = getattr(provider, "api", None)
    if api is None:
        raise ProviderLoadError(
            f"{origin}: states no API level; write `api = {max(SUPPORTED_API_LEVELS)}` in the class"
        )
    if not isinstance(api, int) or api not in SUPPORTED_API_LEVELS:
        known = ", ".join(map(str, sorted(SUPPORTED_API_LEVELS)))
        raise ProviderLoadError(
            f"{origin}: is written for plugin API {api!r}; this vivavoce supports {known}. Install matching versions"
        )
    stated = getattr(provider, "capabilities", None)
    if not isinstance(stated, (frozenset, set)) or not all(isinstance(word, str) for word in stated):
        raise ProviderLoadError(
            f"{origin}: capabilities must be a frozenset of words among {', '.join(sorted(CAPABILITIES))}"
        )
    _check_statements(provider, origin)
    check_plugin(provider, origin, provider=True)


def _check_statements(provider: object, origin: str) -> None:
    """Check what a provider may state beside that, each as far as it is there."""
    formats = ("input_format", "output_format")
    texts = getattr(provider, "credentials", None) or {}
    options = getattr(provider, "connect_options", ())
    wrong = {
        "config_class": not callable(getattr(provider, "config_class", None) or dict),
        "credentials": not (isinstance(texts, Mapping) and all(isinstance(v, str) for v in texts.values())),
        "connect_options": isinstance(options, str)
        or not isinstance(options, Iterable)
        or not all(isinstance(option, str) for option in options),
    } | {name: not isinstance(getattr(provider, name, PCM16_24K), AudioFormat) for name in formats}
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise ProviderLoadError(f"{origin}: {name} must be {_STATED[name]}")


def capabilities_of(provider: object) -> frozenset[str]:
    """The capabilities a provider states; unknown ones are ignored."""
    stated: Iterable[str] = getattr(provider, "capabilities", ())
    return frozenset(stated) & CAPABILITIES


def allowed(found: Iterable[Found]) -> list[Found]:
    """Those that the environment's lists permit."""
    return [entry for entry in found if _refusal(normalize(entry.name)) is None]


def credentials_of(provider: object) -> Mapping[str, str]:
    """Config key -> environment variable, as a provider states them."""
    return getattr(provider, "credentials", None) or {}
