"""A spoken conversation with real human speech: no key, no network, no sound card. `make demo` runs it.

    python examples/demo.py [PROVIDER]
    python examples/demo.py gateway       the same through the OpenAI Realtime protocol: `openai-realtime`, which talks to
                                          `vivavoce serve`, which answers with `local`

The clips in examples/audio are sent as a microphone would send them. The assistant answers, calls a tool, and is heard
by nobody, in real time. Everything is recorded: demo-out/ holds the sound of both sides and two pictures.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import vivavoce
from vivavoce import events
from vivavoce.plot import draw
from vivavoce.plot.timeline import Timeline, load
from vivavoce.recording import Recorder
from vivavoce.registry import entries
from vivavoce.sinks import SilentSink
from vivavoce.sources import chunks

HERE = Path(__file__).resolve().parent
CLIPS = [HERE / "audio" / name for name in ("eight-plus-three.wav", "go-forward-ten-meters.wav")]
OUT = HERE.parent / "demo-out"
ANSWER_WITHIN_S = 20


@vivavoce.tool
def go(direction: Literal["forward", "backward"], meters: int) -> str:
    """Go some meters in a direction.

    Args:
        direction: where to go
        meters: how far
    """
    return f"I went {meters} meters {direction}."


class Conversation:
    """Says one clip after the other, each when the reply to the one before has been heard."""

    def __init__(self, voice: vivavoce.Voice) -> None:
        self.voice = voice
        self.answered = asyncio.Event()
        self.sink = SilentSink(voice.output_format)
        voice.on("speaker", self.play)
        voice.on("turn", self.show_turn)
        voice.on("tool-call-start", self.show_call)
        voice.on("error", self.show_error)

    async def play(self, reply: vivavoce.AudioStream) -> None:
        await reply.pipe(self.sink)  # a vivavoce Speaker would be piped to in the same way

    def show_turn(self, turn: events.Turn) -> None:
        print(f"  {turn.role:>9}: {turn.text}", flush=True)
        if turn.role == "assistant":
            self.answered.set()

    def show_call(self, call: events.ToolCallStart) -> None:
        print(f"  {'tool':>9}: {call.name}({call.arguments})", flush=True)

    def show_error(self, error: vivavoce.VoiceError) -> None:
        print(f"  {'error':>9}: {error}", flush=True)

    async def microphone(self) -> AsyncIterator[bytes]:
        """The clips, and silence while the assistant answers."""
        format = self.voice.input_format
        silence = bytes(format.bytes_for(20))
        for clip in CLIPS:
            self.answered.clear()
            async for chunk in chunks(clip, target=format):
                yield chunk
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while not self.answered.is_set():
                    yield silence

    async def hold(self) -> None:
        async with self.voice:
            await self.voice.send(self.microphone(), pace=True)


@contextlib.contextmanager
def served(provider: str) -> Iterator[dict[str, Any]]:
    """How to make the voice: for `gateway` with a gateway in a process of its own, to which it connects."""
    if provider != "gateway":
        yield {"provider": provider}
        return
    command = [sys.executable, "-m", "vivavoce", "serve", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        try:
            line = gateway.stdout.readline()
            found = re.search(r"ws://\S+", line)
            if found is None:  # it has said why
                raise vivavoce.VoiceError(
                    "the gateway did not start; `pip install vivavoce-gateway` if it is missing"
                )
            print(f"  {'gateway':>9}: {line.strip()}\n", flush=True)
            yield {
                "provider": "openai-realtime",
                "url": found.group(),
                "model": "gpt-realtime",
                "api_key": "any",
            }
        finally:
            gateway.terminate()


def show_times(timeline: Timeline) -> None:
    """Who spoke when, and how long each answer took: from the end of the user's speech to the first sound."""
    print("\n     when  who        said")
    waits = {latency.end_ms: latency.ms for latency in timeline.latencies}
    for part in timeline.said:
        wait = f"  (answered after {waits[part.start_ms]:.0f} ms)" if part.start_ms in waits else ""
        print(f"  {part.start_ms / 1000:5.2f} s  {part.role:<9}  {part.text}{wait}")


def show_more(provider: str) -> None:
    """What to try next, in commands that work as they stand: with this interpreter and its environment."""
    python = _short(sys.executable)
    if provider != "gateway":
        print("\nThe same through the OpenAI Realtime protocol:")
        print(f"  {python} {_short(__file__)} gateway")
    print("\nWith another provider, and your own recording:")
    if "openai-realtime" not in [entry.name for entry in entries()]:
        print(f"  {python} -m pip install vivavoce-openai-realtime")
    print(
        f"  OPENAI_API_KEY=... {python} -m vivavoce talk --provider openai-realtime --in question.wav --record talk"
    )


def _short(path: str) -> str:
    """As one would write it here."""
    with contextlib.suppress(ValueError):
        return str(Path(path).absolute().relative_to(Path.cwd()))
    return path


def main() -> int:
    provider = sys.argv[1] if len(sys.argv) > 1 else "local"
    shutil.rmtree(OUT, ignore_errors=True)
    print(f"A conversation with the provider {provider!r}, in real time:\n")
    try:
        with served(provider) as how:
            voice = vivavoce.Voice.from_config({**how, "tools": [go], "plugins": [Recorder(OUT)]})
            asyncio.run(Conversation(voice).hold())
        show_times(load(OUT))
        pictures = [draw(OUT, OUT / name) for name in ("timeline.png", "timeline.html")]
    except TimeoutError:
        print(
            f"demo: no answer within {ANSWER_WITHIN_S} s; `vivavoce doctor {provider}` may say why",
            file=sys.stderr,
        )
        return 1
    except vivavoce.VoiceError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 1
    print("\nBoth sides as sound, and the timeline as a picture and as a page that plays it:")
    for path in (OUT / "audio.wav", *pictures):
        print(f"  {path.relative_to(HERE.parent)}")
    show_more(provider)
    return 0


if __name__ == "__main__":
    sys.exit(main())
