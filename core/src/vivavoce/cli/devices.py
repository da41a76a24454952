"""`vivavoce devices`: what there is, whether it sounds, and how late it is."""

from __future__ import annotations

import array
import asyncio
import math
import time
from typing import Any

import attrs
import click
import msgspec

from vivavoce.cli.console import Failed, debug_option, json_option, print_json, print_table
from vivavoce.cli.livescreen import meter
from vivavoce.devices import DeviceInfo, Microphone, Speaker, list_devices, silence_reasons

__all__ = ["LoopbackResult", "devices", "measure_loopback"]

_CLICKS = 5
_SILENT = 0.001


@attrs.frozen
class LoopbackResult:
    """Milliseconds from `write` at the speaker to the microphone's chunk with the same sound in it, of each click that
    came back."""

    played: int
    latencies_ms: list[float]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--test", is_flag=True, help="Play a tone, then show what the microphone hears for three seconds."
)
@click.option(
    "--measure",
    is_flag=True,
    help="Measure from speaker to microphone: hold them together, or use a loopback.",
)
@click.option("--input-device", metavar="NAME", help="The microphone: its name, a part of it, or its index.")
@click.option("--output-device", metavar="NAME", help="The speaker: its name, a part of it, or its index.")
@json_option
@debug_option
def devices(
    test: bool, measure: bool, input_device: str | None, output_device: str | None, as_json: bool
) -> None:
    """List sound devices; test and measure them.

    An arrow marks the default. Where there is none, it is said why.
    """
    found = list_devices()
    if not found:
        raise Failed(f"no sound devices: {'; '.join(silence_reasons())}")
    if not (test or measure):
        _list(found, as_json)
        return
    speaker, microphone = Speaker(_device(output_device)), Microphone(_device(input_device))
    if test:
        asyncio.run(_test(speaker, microphone))
    if measure:
        _report(asyncio.run(measure_loopback(speaker, microphone)), as_json)


def _device(given: str | None) -> int | str | None:
    return int(given) if given is not None and given.isdecimal() else given


def _list(found: list[DeviceInfo], as_json: bool) -> None:
    if as_json:
        print_json([msgspec.structs.asdict(info) for info in found])
        return
    rows = [
        [
            f"{'→' if info.default_input or info.default_output else ' '} {info.index}",
            info.name,
            _channels(info.input_channels, info.default_input),
            _channels(info.output_channels, info.default_output),
            f"{info.rate} Hz",
            info.host,
        ]
        for info in found
    ]
    print_table(["", "device", "microphone", "speaker", "rate", "by"], rows)


def _channels(count: int, is_default: bool) -> str:
    return f"{count} ch{', default' if is_default else ''}" if count else "-"


def _tone(ms: float, hertz: float, rate: int, level: float = 0.25) -> bytes:
    count = int(ms * rate / 1000)
    edge = rate // 100
    samples = array.array("h")
    for n in range(count):
        fade = min(1.0, n / edge, (count - n) / edge)
        samples.append(round(level * fade * 32767 * math.sin(2 * math.pi * hertz * n / rate)))
    return samples.tobytes()


async def _test(speaker: Speaker, microphone: Microphone) -> None:
    async with speaker:
        click.echo(f"a tone on {speaker.name} ({speaker.device_format}) ...")
        await speaker.write(_tone(1_000, 440, speaker.format.rate))
        await speaker.drain()
        click.echo(
            f"played {speaker.played_ms:.0f} ms; {speaker.xruns} breaks. Nothing heard? See volume and mute."
        )
    loudest = 0.0
    async with microphone:
        click.echo(f"say something to {microphone.name} ({microphone.device_format}) ...")
        until = time.monotonic() + 3
        shown = 0.0
        async for _ in microphone:
            loudest = max(loudest, microphone.level)
            now = time.monotonic()
            if now - shown > 0.5:
                shown = now
                click.echo(f"  {meter(microphone.level, 40)}")
            if now > until:
                break
    if loudest < _SILENT:
        raise Failed(
            "the microphone gives silence: is it muted, or refused to this program by the privacy settings?"
        )
    click.echo(f"heard you, {20 * math.log10(loudest):.0f} dBFS at the loudest")


async def measure_loopback(speaker: Speaker, microphone: Microphone, clicks: int = _CLICKS) -> LoopbackResult:
    """Play short tones and wait for each at the microphone. Both are opened and closed. `AudioError`."""
    latencies: list[float] = []
    async with speaker, microphone:
        heard: asyncio.Queue[float] = asyncio.Queue()
        listening = asyncio.create_task(_hear(microphone, heard))
        try:
            await asyncio.sleep(0.5)
            for _ in range(clicks):
                while not heard.empty():
                    heard.get_nowait()
                began = time.monotonic()
                await speaker.write(_tone(60, 1_000, speaker.format.rate, 0.5))
                try:
                    async with asyncio.timeout(1):
                        latencies.append((await heard.get() - began) * 1000)
                except TimeoutError:
                    continue
                await asyncio.sleep(0.3)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    return LoopbackResult(clicks, latencies)


async def _hear(microphone: Microphone, heard: asyncio.Queue[float]) -> None:
    quiet = 0.0
    async for chunk in microphone:
        now, level = time.monotonic(), _loudest(chunk)
        if level > max(0.02, quiet * 4):
            heard.put_nowait(now)
        else:
            quiet = 0.9 * quiet + 0.1 * level


def _loudest(chunk: bytes) -> float:
    samples = array.array("h", chunk)
    return max(map(abs, samples), default=0) / 32768


def _report(result: LoopbackResult, as_json: bool) -> None:
    if as_json:
        print_json(attrs.asdict(result))
    if not result.latencies_ms:
        raise Failed(
            "the microphone did not hear the speaker: turn both up, hold them together, and try again"
        )
    if not as_json:
        ordered: Any = sorted(result.latencies_ms)
        click.echo(
            f"from speaker to microphone: {ordered[len(ordered) // 2]:.0f} ms in the middle,"
            f" {ordered[0]:.0f} to {ordered[-1]:.0f}; {len(ordered)} of {result.played} tones came back"
        )
