"""What a plugin states about itself, and in which forms it may come."""

from __future__ import annotations

import logging

import attrs
import pytest
from installed_site import PROVIDER, Site
from vivavoce import Voice, hookimpl
from vivavoce.errors import ConfigError, ProviderLoadError, VoiceError
from vivavoce.testing import ScriptedProvider


class Least:
    api = 1
    name = "least"
    capabilities = frozenset({"realtime"})

    @hookimpl
    def connect(self, context):
        self.config = context.config


class Quiet:
    @hookimpl
    def attach(self, voice):
        """A wrapper that does nothing."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config_class", 5),
        ("credentials", 5),
        ("credentials", {"api_key": 5}),
        ("connect_options", 5),
        ("connect_options", "session_config"),
        ("connect_options", [5]),
        ("input_format", 24_000),
        ("output_format", "pcm16"),
    ],
)
@pytest.mark.parametrize("ready", [False, True])
def test_wrong_statement(name, value, ready):
    """A statement of a wrong kind is refused with its name, before the provider is used."""
    bad = type("Bad", (Least,), {name: value})
    with pytest.raises(ProviderLoadError, match=f"Bad: {name} must be"):
        Voice(bad() if ready else bad)


def test_config_class_without_a_signature():
    """A config class whose constructor tells no keys is refused by name."""

    class Mute(Least):
        config_class = dict

    with pytest.raises(ProviderLoadError, match="config class dict does not tell its keys"):
        Voice(Mute, model="x")


def test_config_class_that_takes_every_key(caplog):
    """A config class with `**keys` gets all of them."""

    class Config:
        def __init__(self, **keys):
            self.keys = keys

    class Open(Least):
        config_class = Config

    with caplog.at_level(logging.WARNING):
        voice = Voice(Open, model="m", mood="calm")
    assert not caplog.records
    assert voice._runtime.wanted.config.keys == {"model": "m", "mood": "calm"}


def test_words_of_a_validator():
    """What an attrs validator says reaches the app, without the objects it looked at."""

    @attrs.frozen(kw_only=True)
    class Config:
        speed: float = attrs.field(default=1.0, validator=attrs.validators.instance_of(float))

    class Fast(Least):
        config_class = Config

    with pytest.raises(ConfigError) as error:
        Voice(Fast, speed="x")
    assert str(error.value) == (
        "config of provider 'least': 'speed' must be <class 'float'> (got 'x' that is a <class 'str'>)."
    )


@pytest.mark.parametrize("thing", [5, None, object(), print, Exception])
def test_no_plugin(thing):
    """A thing without hooks is no wrapper."""
    with pytest.raises(ConfigError, match=r"plugins\[1\] is no plugin: .* has no hook"):
        Voice(Least, plugins=[Quiet(), thing])


def test_wrapper_by_class():
    """A wrapper's class is as good as an object of it."""
    made = []

    class Seen(Quiet):
        def __init__(self):
            made.append(self)

    Voice(Least, plugins=[Seen, Seen])
    assert len(made) == 2


def test_provider_as_its_own_wrapper():
    """One object has one place in a voice."""
    provider = Least()
    with pytest.raises(ConfigError, match=r"plugins\[0\] is already a plugin"):
        Voice(provider, plugins=[provider])


def test_attach_that_raises():
    """It becomes a `ProviderLoadError`, chained; an error of the tree passes."""

    class Broken:
        error: Exception = ValueError("boom")

        @hookimpl
        def attach(self, voice):
            raise self.error

    with pytest.raises(ProviderLoadError, match=r"attach\(\) of a plugin raised ValueError: boom") as error:
        Voice(Least, plugins=[Broken()])
    assert isinstance(error.value.__cause__, ValueError)
    Broken.error = ConfigError("not twice")
    with pytest.raises(ConfigError, match="not twice"):
        Voice(Least, plugins=[Broken()])


@pytest.mark.parametrize(
    "bad",
    [{"tools": [5]}, {"history": [5]}, {"plugins": [5]}, {"modle": "x"}],
)
def test_failed_voice_claims_nothing(bad):
    """A provider object whose voice could not be made may be given to another."""
    provider = ScriptedProvider()
    with pytest.raises(VoiceError):
        Voice(provider, **bad)
    assert Voice(provider).state == "idle"


def test_failed_attach_claims_nothing():
    """The same where a plugin refused the voice at the end."""

    class Broken:
        @hookimpl
        def attach(self, voice):
            raise ValueError("boom")

    provider = ScriptedProvider()
    with pytest.raises(ProviderLoadError):
        Voice(provider, plugins=[Broken()])
    assert Voice(provider).state == "idle"


def test_object_behind_an_entry_point(site: Site):
    """An entry point that gives an object, not a class, gives it to one voice at a time."""
    source = PROVIDER.format(capabilities=("realtime",), credentials={})
    site.install("ready", f"{source}\n\nready = Provider()\n", target="ready")
    first = Voice("ready")
    with pytest.raises(ConfigError, match="belongs to another voice"):
        Voice("ready")
    assert first.provider == "ready"
