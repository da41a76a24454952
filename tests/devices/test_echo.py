"""Echo cancellation on devices that hear each other."""

from __future__ import annotations

import array
import asyncio
import sys

import pytest
from soundserver import SoundServer
from vivavoce.audio import AudioFormat
from vivavoce.devices import EchoCanceller, Microphone, Speaker
from vivavoce.errors import ConfigError


async def hear_the_speaker(microphone: Microphone, speaker: Speaker, speech: bytes) -> float:
    """Play `speech`; root mean square of what the microphone hears of its second half."""
    heard = bytearray()

    async def listen() -> None:
        async for chunk in microphone:
            heard.extend(chunk)

    listening = asyncio.create_task(listen())
    await speaker.write(speech)
    await speaker.drain()
    microphone.stop()
    await listening
    samples = array.array("h", bytes(heard))[len(heard) // 4 :]
    return float((sum(sample * sample for sample in samples) / len(samples)) ** 0.5)


@pytest.mark.real_speech
async def test_speaker_is_taken_out_of_the_microphone(sound: SoundServer, clip: dict[str, bytes]) -> None:
    """Where the speaker is heard by the microphone, with the canceller at least 20 dB less of it is left."""
    pytest.importorskip("livekit")
    speech = clip["go-forward-ten-meters"] + clip["eight-plus-three"]
    loop = sound.ask(
        "load-module", "module-loopback", "source=speaker.monitor", "sink=mic_in", "latency_msec=20"
    )
    try:
        async with Speaker(format=AudioFormat(16_000)) as speaker:
            plain = await hear_the_speaker(Microphone(format=AudioFormat(16_000)), speaker, speech)
            before = speaker.xruns
            microphone = Microphone(format=AudioFormat(16_000), echo=EchoCanceller(speaker))
            cleaned = await hear_the_speaker(microphone, speaker, speech)
            breaks = speaker.xruns - before + microphone.xruns
    finally:
        sound.ask("unload-module", loop.strip())
    assert plain > 300
    if breaks:
        pytest.skip(f"the sound broke off {breaks} times, and the canceller has to find its way anew")
    assert cleaned < plain / 10


async def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without livekit the error names the extra."""
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    monkeypatch.setitem(sys.modules, "livekit", None)
    with pytest.raises(ConfigError, match=r'pip install "vivavoce\[echo\]"'):
        EchoCanceller(Speaker()).load()
