"""Config: every key checked before anything is opened, given once, and where it does something."""

from __future__ import annotations

import re

import attrs
import pytest
from conversation import Stage, scenario
from vivavoce import CommonConfig, Voice
from vivavoce.config import COMMON_KEYS, build_config, deep_merge, find_credentials, load_mapping, nearest
from vivavoce.errors import ConfigError, ProviderNotFoundError


@attrs.frozen(kw_only=True)
class OwnConfig(CommonConfig):
    region: str = "eu"
    retries: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))


class Own:
    api = 1
    capabilities = frozenset({"realtime"})
    config_class = OwnConfig


class Plain:
    api = 1
    capabilities = frozenset({"realtime"})


def config_of(voice):
    return voice._runtime.wanted.config


def test_common_keys():
    """The common keys reach a provider without a config class as a CommonConfig."""
    voice = Voice(
        Plain, model="m", api_key="k", url="wss://x", speaker="alma", instructions="x", session={"a": 1}
    )
    assert config_of(voice) == CommonConfig(
        model="m", api_key="k", url="wss://x", speaker="alma", instructions="x", session={"a": 1}
    )


def test_own_config_class():
    """A provider's own keys and the common ones become its own config object."""
    config = config_of(Voice(Own, region="us", model="m"))
    assert (type(config), config.region, config.model, config.retries) == (OwnConfig, "us", "m", 0)


def test_unknown_key_names_the_nearest():
    """An unknown key is refused with the nearest known one, or with all."""
    with pytest.raises(ConfigError, match="did you mean 'region'") as raised:
        Voice(Own, regoin="us")
    assert (raised.value.option, raised.value.provider) == ("regoin", "Own")
    assert isinstance(raised.value, ValueError)
    with pytest.raises(ConfigError, match="it knows api_key, instructions, model"):
        Voice(Plain, zzzzzz=1)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("model", 3),
        ("url", b"x"),
        ("speaker", ["x"]),
        ("instructions", 1),
        ("session", "x"),
        ("session", [1]),
        ("tools", 5),
        ("tools", [5]),
        ("tools", "x"),
        ("api_key", 12345678),
    ],
)
def test_bad_values(key, bad):
    """A value of the wrong kind is refused by the name of its key."""
    for provider in (Plain, Own):
        with pytest.raises(ConfigError) as raised:
            Voice(provider, **{key: bad})
        assert raised.value.option == key
        assert "12345678" not in str(raised.value)


def test_bad_value_of_the_provider():
    """What a config class raises is a ConfigError that names the provider."""
    with pytest.raises(ConfigError, match="config of provider 'Own'"):
        Voice(Own, retries="many")


def test_none_is_not_given():
    """A common key that is None counts as not given."""
    assert config_of(Voice(Own, model=None, session=None, tools=None)) == OwnConfig()


# realtime_config


def test_realtime_config():
    """realtime_config means the same as the common keys."""
    options = {"session_config": {"turn_detection": {"type": "server_vad"}}}
    config = config_of(Voice(Plain, realtime_config={"model": "m", "api_key": "k", "options": options}))
    assert config == CommonConfig(model="m", api_key="k", session={"turn_detection": {"type": "server_vad"}})


def test_given_twice_with_one_value():
    """A key may be given twice with the same value."""
    config = config_of(Voice(Plain, model="m", realtime_config={"model": "m", "options": None}))
    assert config.model == "m"


@pytest.mark.parametrize(
    ("config", "option"),
    [
        ({"model": "a", "realtime_config": {"model": "b"}}, "model"),
        ({"api_key": "planted-key-a", "realtime_config": {"api_key": "planted-key-b"}}, "api_key"),
        ({"session": {"a": 1}, "realtime_config": {"options": {"session_config": {"a": 2}}}}, "session"),
        ({"realtime_config": {"modle": "a"}}, "modle"),
        ({"realtime_config": {"options": {"session": {}}}}, "session"),
        ({"realtime_config": 5}, "realtime_config"),
        ({"realtime_config": {"options": 5}}, "realtime_config"),
    ],
)
def test_conflicts(config, option):
    """One key with two values, an unknown one, and one of the wrong kind are refused; no key is shown."""
    with pytest.raises(ConfigError) as raised:
        Voice(Plain, **config)
    assert raised.value.option == option
    assert "planted" not in str(raised.value)


def test_realtime_config_for_null(caplog):
    """realtime_config over a provider that can do nothing is warned about like the keys it stands for."""
    Voice("null", realtime_config={"model": "m"})
    assert ["'model'" in message for message in caplog.messages] == [True]


# from_config


def test_from_mapping():
    """provider, plugins, strict and history are the voice's; every other key is config. The mapping is left alone."""
    values = {"provider": "null", "plugins": [], "strict": True}
    assert Voice.from_config(values).provider == "null"
    assert values == {"provider": "null", "plugins": [], "strict": True}
    assert config_of(Voice.from_config({"provider": Own, "region": "us"})).region == "us"


def test_from_toml(tmp_path):
    """A TOML file holds the same keys."""
    path = tmp_path / "voice.toml"
    path.write_text('provider = "null"\nstrict = true\n')
    for source in (path, str(path)):
        assert Voice.from_config(source).provider == "null"


@pytest.mark.parametrize("content", ["provider = ", b"\xff\xfe", None])
def test_bad_toml(tmp_path, content):
    """A file that cannot be read is a ConfigError that names it."""
    path = tmp_path / "voice.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=re.escape("voice.toml")):
        Voice.from_config(path)


@pytest.mark.parametrize("source", [3, None, [("provider", "null")]])
def test_bad_source(source):
    """What is neither mapping nor path is refused."""
    with pytest.raises(ConfigError):
        Voice.from_config(source)


def test_from_config_checks_the_same():
    """from_config knows no more and no less than the constructor."""
    with pytest.raises(ConfigError, match="unknown key 'strickt'"):
        Voice.from_config({"provider": "null", "strickt": True})
    with pytest.raises(ProviderNotFoundError):
        Voice.from_config({"provider": "not-there"})


# Unusable keys, credentials, helpers


def test_key_that_the_provider_cannot_use(caplog):
    """A common key that a provider's config class does not take is one WARNING; the voice works."""

    class Narrow:
        def __init__(self, model=None):
            self.model = model

    provider = type("NarrowProvider", (Plain,), {"config_class": Narrow})
    voice = Voice(provider, model="m", speaker="alma")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot use the config key 'speaker'" in caplog.messages[0]
    assert config_of(voice).model == "m"


@scenario
async def test_config_reaches_the_session():
    """What is configured is in the first session."""
    stage = Stage(instructions="be kind", speaker="alma", session={"a": 1})
    async with stage:
        session = stage.provider.context.session
        assert (session.instructions, session.speaker, session.settings) == ("be kind", "alma", {"a": 1})
        assert stage.provider.context.config.instructions == "be kind"


def test_credentials():
    """A credential comes from the config, else from the environment; empty ones are none."""
    wanted = {"api_key": "SOME_KEY"}
    assert find_credentials(CommonConfig(api_key="given-key"), wanted, {"SOME_KEY": "other"}) == {
        "api_key": "given-key"
    }
    assert find_credentials(CommonConfig(), wanted, {"SOME_KEY": " env-key "}) == {"api_key": "env-key"}
    assert find_credentials(CommonConfig(), wanted, {"SOME_KEY": "  "}) == {}


def test_deep_merge():
    """Mappings merge key by key, everything else is replaced; nothing given is changed."""
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert deep_merge(base, {"a": {"c": [3]}, "d": {"e": 2}}) == {"a": {"b": 1, "c": [3]}, "d": {"e": 2}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_nearest():
    """The nearest word is one that is near."""
    assert (nearest("modle", COMMON_KEYS), nearest("qqq", COMMON_KEYS)) == ("model", None)


def test_build_config_without_capabilities():
    """A provider that can do nothing takes no common key."""
    config, unused = build_config({"model": "m"}, provider="x", config_class=None, has_capabilities=False)
    assert (config.model, unused) == ("m", ("model",))


def test_load_mapping_copies():
    """A mapping is copied."""
    values = {"a": 1}
    assert load_mapping(values) == values
    assert load_mapping(values) is not values


@pytest.mark.parametrize(
    "bad",
    [
        [{"role": "user"}, 3],
        [{"text": "x"}],
        [{"role": "user", "text": 3}],
        [{"role": "robot", "text": "x"}],
        5,
        "hi",
    ],
)
def test_bad_history(bad):
    """A history that is none is refused by the number of the item."""
    with pytest.raises(ConfigError, match="history"):
        Voice("null", history=bad)


@pytest.mark.parametrize("bad", ["yes", 1, None])
def test_strict_is_a_bool(bad):
    """`strict` is a bool: a word from a config file is not taken for one."""
    with pytest.raises(ConfigError, match="strict"):
        Voice("null", strict=bad)
