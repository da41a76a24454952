"""Finding plugins: by metadata alone, one imported at a time, and what is broken harms nobody else."""

from __future__ import annotations

import importlib.metadata
import time

import pytest
from installed_site import PROVIDER, Site
from vivavoce import Voice, registry
from vivavoce.errors import ConfigError, ProviderLoadError, ProviderNotFoundError

DUMMY = [f"dummy-{number:03}" for number in range(100)]


def names():
    return [entry.name for entry in registry.entries()]


def test_hundred_plugins(site: Site):
    """A hundred plugins are listed without importing one; only the one that is asked for is imported."""
    for name in DUMMY:
        site.install(name)
    began = time.process_time()
    assert [name for name in names() if name.startswith("dummy-")] == DUMMY
    assert time.process_time() - began < 2
    assert site.imported() == []
    assert Voice("dummy-042").provider == "dummy-042"
    assert site.imported() == ["dummy_dummy_042"]


@pytest.mark.parametrize("spelling", ["my-own", "my_own", "My.Own", "MY--OWN", " my-own ".strip()])
def test_names_are_normalised(site: Site, spelling: str):
    """Case, `_`, `-` and `.` do not matter."""
    site.install("My_own")
    assert Voice(spelling).provider == "My_own"


@pytest.mark.parametrize("spelling", ["myown", "MyOwn", "m.y-own"])
def test_separators_may_be_left_out(site: Site, spelling: str, monkeypatch: pytest.MonkeyPatch):
    """A name is also found without them, unless another plugin is named just so; the environment's lists agree."""
    site.install("my-own")
    assert Voice(spelling).provider == "my-own"
    monkeypatch.setenv("VIVAVOCE_DISABLE_PLUGINS", spelling)
    for name in (spelling, "my-own"):
        with pytest.raises(ProviderNotFoundError, match="VIVAVOCE_DISABLE_PLUGINS names it"):
            Voice(name)
    monkeypatch.delenv("VIVAVOCE_DISABLE_PLUGINS")
    site.install("myown")
    assert Voice("myown").provider == "myown"
    assert Voice("my_own").provider == "my-own"


def test_unknown_name(site: Site):
    """An unknown name lists what is installed, and the nearest name, or else how to install one."""
    site.install("wonderful")
    with pytest.raises(ProviderNotFoundError, match="pip install vivavoce-parrot"):
        Voice("parrot")
    with pytest.raises(ProviderNotFoundError) as raised:
        Voice("wonderfull")
    text = str(raised.value)
    assert "Did you mean 'wonderful'?" in text
    assert "null" in text
    assert "pip install" not in text
    assert isinstance(raised.value, LookupError)


def test_environment_chooses(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Without a name VIVAVOCE_PROVIDER decides; without that it is a ConfigError that says so."""
    site.install("mine")
    with pytest.raises(ConfigError, match="VIVAVOCE_PROVIDER"):
        Voice()
    monkeypatch.setenv("VIVAVOCE_PROVIDER", " Mine ")
    assert Voice().provider == "mine"


BROKEN = {
    "raises": ("raise ValueError('bad module')", "ValueError: bad module"),
    "exits": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "syntax": ("def (", "SyntaxError"),
    "import": ("import not_there_at_all", "No module named 'not_there_at_all'"),
    "empty": ("", "has no attribute 'Provider'"),
    "base": ("raise BaseException('odd')", "BaseException: odd"),
    "no-api": ("class Provider:\n    capabilities = frozenset()", "states no API level"),
    "old-api": ("class Provider:\n    api = 0\n    capabilities = frozenset()", "written for plugin API 0"),
    "new-api": ("class Provider:\n    api = 99\n    capabilities = frozenset()", "supports 1"),
    "odd-api": ("class Provider:\n    api = [1]\n    capabilities = frozenset()", "written for plugin API [1]"),
    "no-capabilities": ("class Provider:\n    api = 1", "capabilities must be a frozenset"),
    "odd-capabilities": ("class Provider:\n    api = 1\n    capabilities = 'realtime'", "capabilities must be a frozenset"),
    "nothing": ("Provider = None", "states no API level"),
    "constructor": (
        "class Provider:\n    api = 1\n    capabilities = frozenset()\n    def __init__(self): raise KeyError('x')",
        "its constructor raised KeyError",
    ),
    "constructor-wants": (
        "class Provider:\n    api = 1\n    capabilities = frozenset()\n    def __init__(self, key): pass",
        "its constructor raised TypeError",
    ),
    "constructor-exits": (
        "class Provider:\n    api = 1\n    capabilities = frozenset()\n    def __init__(self): raise SystemExit",
        "its constructor raised SystemExit",
    ),
    "misspelt": (
        "import vivavoce\nclass Provider:\n    api = 1\n    capabilities = frozenset()\n    @vivavoce.hookimpl\n    def conect(self): pass",
        "Provider.conect is no hook: did you mean 'connect'?",
    ),
    "no-marker": (
        "class Provider:\n    api = 1\n    capabilities = frozenset()\n    def connect(self): pass",
        "Provider.connect has the name of a hook but not its marker",
    ),
    "lost-marker": (
        PROVIDER.replace("{capabilities!r}", "()").replace("{credentials!r}", "{}").replace("class Provider", "class Base")
        + "\nclass Provider(Base):\n    async def connect(self, context, options): pass",
        "the override lost it",
    ),
    "keyword-only": (
        "import vivavoce\nclass Provider:\n    api = 1\n    capabilities = frozenset()\n    @vivavoce.hookimpl\n    def connect(self, *, context): pass",
        "takes 'context' by keyword only",
    ),
    "unknown-argument": (
        "import vivavoce\nclass Provider:\n    api = 1\n    capabilities = frozenset()\n    @vivavoce.hookimpl\n    def connect(self, contxt): pass",
        "has an argument 'contxt'",
    ),
    "old-wrapper": (
        "import vivavoce\nclass Provider:\n    api = 1\n    capabilities = frozenset()\n    @vivavoce.hookimpl(hookwrapper=True)\n    def connect(self): yield",
        "old-style wrapper",
    ),
    "plain-wrapper": (
        "import vivavoce\nclass Provider:\n    api = 1\n    capabilities = frozenset()\n    @vivavoce.hookimpl(wrapper=True)\n    async def connect(self): pass",
        "must be a plain generator function",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_plugin(site: Site, fault: str):
    """A broken plugin is a ProviderLoadError that names its distribution and the culprit; the others work."""
    source, says = BROKEN[fault]
    site.install("broken", source, version="2.3")
    site.install("fine")
    with pytest.raises(ProviderLoadError) as raised:
        Voice("broken")
    assert says in str(raised.value)
    assert "vivavoce-broken 2.3" in str(raised.value)
    assert raised.value.provider == "broken"
    assert Voice("fine").provider == "fine"
    assert {"broken", "fine"} <= set(names())


def test_cause_is_chained(site: Site):
    """What the import raised is chained."""
    site.install("broken", "raise ValueError('bad module')")
    with pytest.raises(ProviderLoadError) as raised:
        Voice("broken")
    assert isinstance(raised.value.__cause__, ValueError)


def test_broken_plugin_stays_broken(site: Site):
    """A plugin that failed is not half loaded the second time."""
    site.install("broken", BROKEN["misspelt"][0])
    for _ in range(2):
        with pytest.raises(ProviderLoadError, match="did you mean 'connect'"):
            Voice("broken")


def test_slow_import_is_paid_by_who_asks(site: Site):
    """A plugin that is slow to import costs nobody who does not ask for it."""
    site.install(
        "slow",
        "import time\ntime.sleep(0.3)\n"
        + PROVIDER.replace("{capabilities!r}", "()").replace("{credentials!r}", "{}"),
    )
    site.install("fine")
    began = time.perf_counter()
    Voice("fine")
    assert "dummy_slow" not in site.imported()
    assert time.perf_counter() - began < 0.3
    assert Voice("slow").provider == "slow"


def test_two_distributions_with_one_name(site: Site):
    """Two distributions that offer one name are named when it is asked for, and not before."""
    site.install("twin", module="twin_a", distribution="dist-a")
    site.install("Twin", module="twin_b", distribution="dist-b")
    site.install("fine")
    Voice("fine")
    with pytest.raises(ProviderLoadError) as raised:
        Voice("twin")
    assert "dist-a 1.0" in str(raised.value)
    assert "dist-b 1.0" in str(raised.value)
    assert site.imported() == ["dummy_fine"]


def test_distribution_seen_twice(site: Site, tmp_path, monkeypatch):
    """One distribution found in two folders of sys.path counts once: the first."""
    site.install("mine", version="2.0")
    other = tmp_path / "other"
    other.mkdir()
    Site(other).install("mine", version="1.0")
    monkeypatch.setattr("sys.path", [*__import__("sys").path, str(other)])
    registry.forget()
    assert [entry.version for entry in registry.entries() if entry.name == "mine"] == ["2.0"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe garbage",
        b"[vivavoce.providers]\nno equals sign\n",
        b"[vivavoce.providers]\nx = \n",
        b"vivavoce.providers\nx = y:z\n",
    ],
    ids=["bytes", "no equals", "no target", "no section"],
)
def test_broken_metadata(site: Site, text: bytes):
    """A distribution whose metadata cannot be read harms nobody else."""
    site.install("odd", entry_points=text)
    site.install("fine")
    assert "fine" in names()
    assert Voice("fine").provider == "fine"
    if "x" in names():
        with pytest.raises(ProviderLoadError):
            Voice("x")


def test_metadata_without_a_name(site: Site):
    """A distribution without METADATA can still be listed and used."""
    site.install("bare")
    (site.path / "vivavoce_bare-1.0.dist-info" / "METADATA").unlink()
    registry.forget()
    assert "bare" in names()
    assert Voice("bare").provider == "bare"


HAVE = importlib.metadata.version("vivavoce")


@pytest.mark.parametrize(
    "requirement",
    ["vivavoce>=99", "vivavoce (<0.1)", "vivavoce==99.*", "Vivavoce[files] ~=99.1", "vivavoce!=" + HAVE],
)
def test_conflicting_requirement(site: Site, requirement: str):
    """A plugin that needs another core is told from metadata, before it is imported."""
    site.install("other-core", requires=[requirement])
    with pytest.raises(ProviderLoadError, match=f"but {HAVE} is installed"):
        Voice("other-core")
    assert site.imported() == []


@pytest.mark.parametrize(
    "requirement",
    [f"vivavoce=={HAVE}", "vivavoce>=0.0.1,<99", f"vivavoce~={HAVE}", "vivavoce", "vivavoce[all]>=0.0.1; python_version>'3'",
     'vivavoce>=99; extra == "next"', "vivavoce-null-provider>=99", "vivavoce @ https://example.invalid/x.whl"],
)  # fmt: skip
def test_requirement_that_fits(site: Site, requirement: str):
    """A requirement that the core meets, that is another's, or that is not understood, is none of our business."""
    site.install("fits", requires=[requirement])
    assert Voice("fits").provider == "fits"


def test_lists_of_the_environment(site: Site, monkeypatch: pytest.MonkeyPatch):
    """The allow-list and the block-list refuse by name; the null provider is exempt from both."""
    site.install("one")
    site.install("two")
    monkeypatch.setenv("VIVAVOCE_PLUGINS", "One, three")
    assert Voice("one").provider == "one"
    with pytest.raises(ProviderNotFoundError, match="not allowed: VIVAVOCE_PLUGINS does not name it"):
        Voice("two")
    assert Voice("null").provider == "null"
    monkeypatch.setenv("VIVAVOCE_DISABLE_PLUGINS", "one,null")
    with pytest.raises(ProviderNotFoundError, match="VIVAVOCE_DISABLE_PLUGINS names it"):
        Voice("one")
    assert Voice("null").provider == "null"


@pytest.mark.parametrize("value", ["", "  ", ","])
def test_empty_lists(site: Site, monkeypatch: pytest.MonkeyPatch, value: str):
    """An empty list is no list."""
    site.install("one")
    monkeypatch.setenv("VIVAVOCE_PLUGINS", value)
    monkeypatch.setenv("VIVAVOCE_DISABLE_PLUGINS", value)
    assert Voice("one").provider == "one"


WRAPPER = """
import vivavoce

class Wrapper:
    @vivavoce.hookimpl(wrapper=True)
    def connect(self, context):
        return (yield)
"""


def test_wrappers_are_found_by_name(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Wrappers are an entry-point group of their own, chosen by name, under the same lists; none is loaded by itself."""
    site.install("recordr", WRAPPER, group="vivavoce.plugins", target="Wrapper")
    site.install("fine")
    Voice("fine")
    assert "dummy_recordr" not in site.imported()
    Voice("fine", plugins=["Recordr"])
    assert "dummy_recordr" in site.imported()
    with pytest.raises(ProviderNotFoundError, match="no plugin is named 'recorderr'"):
        Voice("fine", plugins=["recorderr"])
    with pytest.raises(ProviderNotFoundError):
        Voice("recordr")
    monkeypatch.setenv("VIVAVOCE_DISABLE_PLUGINS", "recordr")
    with pytest.raises(ProviderNotFoundError, match="not allowed"):
        Voice("fine", plugins=["recordr"])


@pytest.mark.parametrize("plugins", ["recorder", 3, None])
def test_bad_plugins(plugins):
    """`plugins` is a list."""
    with pytest.raises(ConfigError, match="plugins"):
        Voice("null", plugins=plugins)


class Ready:
    api = 1
    capabilities = frozenset({"realtime", "telepathy"})


def test_forms_of_a_provider():
    """A provider is a name, a class, or a ready object; unknown capabilities are ignored."""
    for given in (Ready, Ready()):
        voice = Voice(given)
        assert (voice.provider, voice.capabilities) == ("Ready", {"realtime"})


@pytest.mark.parametrize("bad", [3, object(), object, b"null", ["null"]])
def test_what_is_no_provider(bad):
    """Anything else is refused."""
    with pytest.raises(ProviderLoadError):
        Voice(bad)
