"""The user speaks while a reply sounds: how soon it is silent, and whether the service is cut where it was heard."""

from __future__ import annotations

import array
import asyncio
import time
from typing import Any

import pytest
from sounds import tone
from soundserver import Monitor, SoundServer
from vivavoce import Voice
from vivavoce.audio import AudioFormat
from vivavoce.devices import Microphone, Speaker
from vivavoce.events import Interrupted
from vivavoce.testing import ScriptedProvider

LOUD = 1_000
TIMES = 4


class Attentive(ScriptedProvider):
    """Hears the user begin with the first loud sample, as a very good voice activity detection would."""

    name = "attentive"
    input_format = output_format = AudioFormat(16_000)

    def __init__(self) -> None:
        super().__init__()
        self.hears = False

    def _hear(self, context: Any, audio: bytes) -> Any:
        held = super()._hear(context, audio)
        loud = max(map(abs, array.array("h", audio)), default=0) > LOUD
        if loud and not self.hears:
            self.hears = True
            self.user_starts()
        return held


async def barge_in(
    sound: SoundServer, provider: Attentive, voice: Voice, monitor: Monitor
) -> tuple[float, float]:
    """One interruption: milliseconds to silence, and those by which the truncation was wrong."""
    cuts: list[Interrupted] = []
    voice.once("interrupted", cuts.append)
    provider.hears = False
    began = time.monotonic()
    provider.reply("A long reply.", 1_900, paced=False)
    await asyncio.sleep(0.9)
    with sound.monitor("mic_in.monitor") as user:
        sound.say(tone(300, 16_000))
        while not cuts:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.4)
        spoke = next(at for at, piece in user.pieces if max(map(abs, array.array("h", piece))) > LOUD)
    return (monitor.last_sound() - spoke) * 1000, cuts[0].played_ms - monitor.sound_ms(began)


async def test_barge_in_is_quick_and_cut_where_it_was_heard(sound: SoundServer) -> None:
    """From the user's first sample to silence at the sink: at most 200 ms and the device's latency. The service is cut
    within 30 ms of what the sink carried."""
    provider = Attentive()
    with sound.monitor() as monitor:
        async with Speaker() as speaker, Voice(provider) as voice:
            voice.on("speaker", lambda stream: stream.pipe(speaker))
            microphone = Microphone()
            sending = asyncio.create_task(voice.send(microphone))
            measured = [await barge_in(sound, provider, voice, monitor) for _ in range(TIMES)]
            latency = speaker.host_latency_ms
            microphone.stop()
            await sending
    print("to silence, wrong by (ms):", [(round(a), round(b)) for a, b in measured])
    assert max(silent for silent, _ in measured) <= 200 + latency
    assert [wrong for _, wrong in measured] == [pytest.approx(0, abs=30)] * TIMES
