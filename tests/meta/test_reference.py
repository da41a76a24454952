"""The reference pages hold everything they are a reference of. A page that is not written yet is skipped."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from house import ROOT
from vivavoce import errors, events, hookspecs
from vivavoce.config import CommonConfig

REFERENCE = ROOT / "docs" / "reference"
HOOKS = {
    name: spec
    for name, spec in vars(hookspecs.HookSpecs).items()
    if inspect.isfunction(spec) and not name.startswith("_")
}
PROVIDERS = sorted(entry.name for entry in importlib.metadata.entry_points(group="vivavoce.providers"))


def read_page(name: str) -> str:
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"docs/reference/{name} is not written yet")
    return path.read_text()


def code_words(text: str) -> set[str]:
    """Every word in a code span, fence or heading of a page."""
    spans = re.findall(r"```.*?```|`[^`\n]+`|^#+ .*$", text, re.DOTALL | re.MULTILINE)
    return {word for span in spans for word in re.findall(r"[\w.:*-]+", span)}


def signature_of(spec: Any) -> str:
    """`send(context, audio)`: what an implementation is called with."""
    names = [name for name in inspect.signature(spec).parameters if name != "self"]
    return f"{spec.__name__}({', '.join(names)})"


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_heading_with_its_signature(hook: str) -> None:
    """Each hook has its heading in docs/reference/hooks.md, with its exact arguments."""
    page = read_page("hooks.md")
    headings = [
        line.lstrip("# ").replace("`", "").strip() for line in re.findall(r"^#+ .*$", page, re.MULTILINE)
    ]
    assert signature_of(HOOKS[hook]) in headings


def test_hooks_page_has_no_other_hook() -> None:
    """No heading of a hook that is gone, or misspelt."""
    named = set(re.findall(r"^#+ `?(\w+)\(", read_page("hooks.md"), re.MULTILINE))
    assert named - set(HOOKS) == set()


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_test_named_after_it(hook: str) -> None:
    """Each hook has a test `test_hook_<name>...` that calls it through a voice."""
    named = names_of_tests()
    if not any(name.startswith("test_hook_") for name in named):
        pytest.skip("no test is named after a hook yet")
    assert [name for name in named if re.fullmatch(rf"test_hook_{hook}(_.*)?", name)] != []


def names_of_tests() -> list[str]:
    this = Path(__file__).resolve()
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if path != this]
    return [name for path in paths for name in re.findall(r"def (test_\w+)\(", path.read_text())]


@pytest.mark.parametrize("name", errors.__all__)
def test_error_is_in_the_reference(name: str) -> None:
    """Each class of error is in docs/reference/errors.md."""
    assert name in code_words(read_page("errors.md"))


@pytest.mark.parametrize("name", events.__all__)
def test_event_is_in_the_reference(name: str) -> None:
    """Each event is in docs/reference/events.md: its class, the name it is delivered under, its fields."""
    words = code_words(read_page("events.md"))
    cls = getattr(events, name)
    expected = {name}
    if inspect.isclass(cls):
        expected |= {cls.type, *(field for field in getattr(cls, "__struct_fields__", ()))}
    assert expected - words == set()


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(CommonConfig)])
def test_common_config_key_is_in_the_reference(name: str) -> None:
    """Each common key is in docs/reference/config.md."""
    assert name in code_words(read_page("config.md"))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_config_of_provider_is_in_the_reference(provider: str) -> None:
    """Each key of a provider's own, and each of its connect options, is in docs/reference/config.md."""
    page = read_page("config.md")
    (entry,) = importlib.metadata.entry_points(group="vivavoce.providers", name=provider)
    module, _, attribute = entry.value.partition(":")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not written yet")
    cls = getattr(importlib.import_module(module), attribute)
    config = getattr(cls, "config_class", None)
    keys = set(inspect.signature(config).parameters) if config else set()
    assert (keys | set(getattr(cls, "connect_options", ()))) - code_words(page) == set()


def test_methods_of_voice_are_in_the_reference() -> None:
    """Each public method and property of `Voice` is in docs/reference/voice.md."""
    words = code_words(read_page("voice.md"))
    voice = pytest.importorskip("vivavoce.voice").Voice
    assert {name for name in dir(voice) if not name.startswith("_")} - words == set()
