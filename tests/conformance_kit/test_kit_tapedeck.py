"""`vivavoce conformance record` and `replay`: one conversation, held twice, the second time without its service."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import gateways
import pytest
from vivavoce import Voice
from vivavoce.testing import ramp
from vivavoce_conformance.tape import CASSETTE_VERSION, read_cassette

pytestmark = pytest.mark.timeout(120)
KEY = "a-key-of-no-known-shape"


class Deck:
    """A command that prints an address, and ends when it is told to."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url

    async def stop(self) -> tuple[str, str]:
        """Ctrl-C; what it printed."""
        self._process.send_signal(signal.SIGINT)
        out, err = await self._process.communicate()
        assert self._process.returncode == 0, err
        return out.decode(), err.decode()


async def deck(*arguments: str) -> Deck:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vivavoce", "conformance", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    return Deck(process, (await process.stdout.readline()).decode().strip())


async def hold(url: str) -> tuple[str, bytes, bytes]:
    """Two replies; the words of the first, and the audio of both."""
    async with Voice("openai-realtime", url=url, api_key=KEY) as voice:
        await voice.send(ramp(300, voice.input_format))
        await voice.send_text("Good evening.")
        first = await voice.answer()
        heard = b"".join([chunk async for chunk in first.audio])
        words = await first.text()
        await voice.send_text("And now?")
        second = await voice.answer()
        return words, heard, b"".join([chunk async for chunk in second.audio])


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A service."""
    async with contextlib.AsyncExitStack() as stack:
        yield (await gateways.start(stack, gateways.Script().config(keys=[KEY]))).url


async def test_a_conversation_can_be_held_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app hears the same from the cassette as from the service, twice in a row; the file holds no key."""
    monkeypatch.setenv("MY_KEY", KEY)
    tape = tmp_path / "evening.jsonl"
    recording = await deck("record", str(tape), "--to", url, "--secret", "MY_KEY")
    before = await hold(recording.url)
    out, _ = await recording.stop()
    assert "1 connection(s)" in out
    assert KEY not in tape.read_text()
    assert len(before[1]) > 1_000

    replaying = await deck("replay", str(tape))
    assert await hold(replaying.url) == before
    assert await hold(replaying.url) == before
    assert await replaying.stop() == ("", "Ctrl-C ends it.\n")


async def test_what_is_in_it(url: str, tmp_path: Path) -> None:
    """`--show` prints the conversation, line by line."""
    tape = tmp_path / "evening.jsonl"
    recording = await deck("record", str(tape), "--to", url)
    await hold(recording.url)
    await recording.stop()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vivavoce", "conformance", "replay", str(tape), "--show", stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    out = (await process.communicate())[0].decode()
    assert "session.update" in out
    assert len(out.splitlines()) == len(read_cassette(tape).entries) + 2


async def test_an_app_that_says_less_is_told(url: str, tmp_path: Path) -> None:
    """Where the app no longer asks what it asked, the cassette does not go on, and says so at its end."""
    tape = tmp_path / "evening.jsonl"
    recording = await deck("record", str(tape), "--to", url)
    await hold(recording.url)
    await recording.stop()
    replaying = await deck("replay", str(tape))
    async with Voice("openai-realtime", url=replaying.url, api_key=KEY) as voice:
        closed = voice.events("close")
        await asyncio.wait_for(anext(closed), 30)
    _, err = await replaying.stop()
    assert "the provider asked more before the service went on: " in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1 is no cassette"),
        (f'{{"cassette": {CASSETTE_VERSION + 1}}}\n', "upgrade it"),
        ('{"cassette": 1}\n{"at": 0}\n', "line 2 is no cassette"),
        ('{"cassette": 1}\n', "holds no connection"),
    ],
)
async def test_bad_cassettes(text: str, words: str, tmp_path: Path) -> None:
    """One line, and status 1."""
    tape = tmp_path / "bad.jsonl"
    tape.write_text(text)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vivavoce", "conformance", "replay", str(tape), stderr=asyncio.subprocess.PIPE
    )  # fmt: skip
    _, err = await process.communicate()
    assert (process.returncode, len(err.splitlines())) == (1, 1)
    assert words in err.decode()
