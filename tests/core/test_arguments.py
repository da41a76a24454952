"""What an app gives to a method, when it is of a wrong kind: a `ConfigError` that names it, before anything is sent."""

from __future__ import annotations

import pytest
from conversation import Stage, scenario
from vivavoce import Tool, Voice
from vivavoce.errors import ConfigError

WRONG = [
    ("send_text", (5,), {}, "text is a int"),
    ("send_text", ("x",), {"role": "robot"}, "'user', 'assistant' or 'system'"),
    ("send_event", (5,), {}, "type is a int"),
    ("speak", ("x",), {"speaker": 5}, "speaker is a int"),
    ("add_instructions", (5,), {}, "text is a int"),
    ("add_instructions", (None,), {}, "text is a NoneType"),
    ("update_config", (), {"instructions": 5}, "instructions is a int"),
    ("update_config", (), {"speaker": 5}, "speaker is a int"),
    ("update_config", (), {"session": 5}, "session is not a mapping"),
    ("update_config", (), {"tools": 5}, "give a list of tools"),
    ("interrupt", (), {"item_id": 5}, "item_id=5"),
    ("answer", (), {"instructions": 5}, "instructions is a int; give a str"),
    ("answer", (), {"text_only": "yes"}, "text_only is a str; give True or False"),
    ("answer", (), {"tools": 5}, "give a list of tools"),
    ("answer", (), {"tool_choice": 5}, "tool_choice is a int"),
    ("answer", (), {"input": "hello"}, "input is a str; give a list of items"),
    ("answer", (), {"metadata": "x"}, "metadata is a str; give a mapping"),
    ("answer", (), {"out_of_band": 1}, "out_of_band is a int; give True or False"),
]


@pytest.mark.parametrize(("method", "args", "options", "words"), WRONG)
@scenario
async def test_wrong_kind(method, args, options, words):
    """It is named, and the provider hears nothing of it."""
    async with Stage() as stage:
        with pytest.raises(ConfigError, match=words) as error:
            await getattr(stage.voice, method)(*args, **options)
        assert error.value.option
        assert stage.provider.called(method) == []


@scenario
async def test_options_of_answer_that_are_none():
    """`None` is the same as leaving an option out, as far as its kind goes."""
    async with Stage() as stage:
        await stage.voice.answer(instructions=None, tools=None, input=[], metadata={}, tool_choice="auto")
        (call,) = stage.provider.called("answer")
        assert call.args[0]["tool_choice"] == "auto"


@pytest.mark.parametrize("method", ["on", "once"])
def test_name_of_an_event(method):
    """`@voice.on` without a name would listen to nothing, so it is refused."""
    voice = Voice("null")
    with pytest.raises(ConfigError, match=r"@voice.on\('turn'\), not @voice.on"):
        getattr(voice, method)(lambda event: None)
    with pytest.raises(ConfigError, match="name of an event"):
        voice.events("turn", 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parameters": None}, "no JSON schema of type object"),
        ({"parameters": {"type": "array"}}, "no JSON schema of type object"),
        ({"timeout": "5"}, "not a positive number"),
        ({"timeout": float("nan")}, "not a positive number"),
        ({"description": 5}, "description is not text"),
    ],
)
def test_wrong_tool(options, words):
    """A tool that no service would take is refused where it is made."""
    with pytest.raises(ConfigError, match=words):
        Tool("look", execute=print, **options)


@pytest.mark.parametrize(
    ("key", "meant"), [("histroy", "history"), ("plugin", "plugins"), ("strickt", "strict")]
)
def test_misspelt_parameter_of_the_constructor(key, meant):
    """The constructor's own parameters are among the names that were probably meant."""
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        Voice("null", **{key: []})


def test_key_that_is_no_text():
    """A config key of another kind is a `ConfigError`, too."""
    with pytest.raises(ConfigError, match="a key of the config is a int"):
        Voice.from_config({"provider": "null", 5: 6})


@pytest.mark.parametrize("name", ["", "  "])
def test_blank_name(name):
    """A blank name is no name."""
    with pytest.raises(ConfigError, match="no provider: give its name"):
        Voice(name)
