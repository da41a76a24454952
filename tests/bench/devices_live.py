"""A live session on virtual devices: what it costs, and how much later sound arrives because of it.

    python tests/bench/devices_live.py [--times 30]

The service is a script, so what is measured is the devices, the voice and nothing else. Latencies are from the moment
a sound is at one end to the moment it is at the other, by the monitors of null sinks; PortAudio's buffers of 60 ms and
PulseAudio's own are in them. Skipped in one line where PulseAudio is not installed.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from sounds import tone
from soundserver import Monitor, SoundServer, missing
from vivavoce import Voice
from vivavoce.audio import AudioFormat
from vivavoce.devices import Microphone, Speaker
from vivavoce.testing import ScriptedProvider

LOUD = 1_000
CPU_S = 10


class Watching(ScriptedProvider):
    """Remembers when the user's sound came."""

    input_format = output_format = AudioFormat(24_000)

    def __init__(self) -> None:
        super().__init__()
        self.heard_at: asyncio.Future[float] | None = None

    def _hear(self, context: Any, audio: bytes) -> Any:
        if self.heard_at is not None and not self.heard_at.done() and is_loud(audio):
            self.heard_at.set_result(time.monotonic())
        return super()._hear(context, audio)


def is_loud(audio: bytes) -> bool:
    samples = array.array("h", audio[: len(audio) & ~1])
    return max(map(abs, samples), default=0) > LOUD


def first_loud(monitor: Monitor, since: float) -> float:
    return next(at for at, piece in monitor.pieces if at >= since and is_loud(piece))


def percentiles(values: list[float]) -> str:
    ordered = sorted(value * 1000 for value in values)
    marks = (50, 95, 99)
    return ", ".join(
        f"p{mark} {ordered[min(len(ordered) - 1, len(ordered) * mark // 100)]:.0f} ms" for mark in marks
    )


async def into_transport(sound: SoundServer, provider: Watching, times: int) -> list[float]:
    """From the microphone's sink to the provider's `send`."""
    found = []
    for _ in range(times):
        provider.heard_at = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        with sound.monitor("mic_in.monitor") as monitor:
            sound.say(tone(60, 16_000))
            heard = await asyncio.wait_for(provider.heard_at, 5)
            await asyncio.sleep(0.15)
            found.append(heard - first_loud(monitor, began))
    return found


async def out_of_transport(sound: SoundServer, provider: Watching, times: int) -> list[float]:
    """From the provider's event to the speaker's sink."""
    found = []
    with sound.monitor() as monitor:
        for _ in range(times):
            began = time.monotonic()
            provider.reply("x", 100)
            await asyncio.sleep(0.5)
            found.append(first_loud(monitor, began) - began)
    return found


async def cpu(provider: Watching) -> float:
    """The part of one core that a session takes, a reply sounding half of the time."""
    began, wall = time.process_time(), time.monotonic()
    while time.monotonic() - wall < CPU_S:
        provider.reply("x", 1_000, paced=True)
        await asyncio.sleep(2)
    return (time.process_time() - began) / (time.monotonic() - wall)


async def measure(sound: SoundServer, times: int) -> None:
    provider = Watching()
    async with Speaker() as speaker, Voice(provider) as voice:
        voice.on("speaker", lambda stream: stream.pipe(speaker))
        microphone = Microphone()
        sending = asyncio.create_task(voice.send(microphone))
        await asyncio.sleep(1)
        share = await cpu(provider)
        print(f"CPU of a live session                {share:.1%} of a core")
        print(
            f"microphone → transport ({times} times)    {percentiles(await into_transport(sound, provider, times))}"
        )
        print(
            f"transport → speaker ({times} times)       {percentiles(await out_of_transport(sound, provider, times))}"
        )
        print(f"breaks in the sound                  {speaker.xruns} speaker, {microphone.xruns} microphone")
        microphone.stop()
        await sending


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30, help="how often each latency is measured")
    options = parser.parse_args()
    if (lacking := missing()) is not None:
        print(f"skipped: {lacking}")
        return 0
    with tempfile.TemporaryDirectory(prefix="vv") as directory:
        sound = SoundServer(Path(directory))
        os.environ.update(sound.environment)
        sound.start()
        try:
            asyncio.run(measure(sound, options.times))
        finally:
            sound.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
