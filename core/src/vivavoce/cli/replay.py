"""`vivavoce replay`: a recorded conversation, held again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from vivavoce.audio import AudioFormat
from vivavoce.cli.completion import complete_provider
from vivavoce.cli.console import Failed, debug_option, json_option, print_json, print_table
from vivavoce.cli.conversation import Conversation
from vivavoce.cli.loading import AudioFile, load_attribute, load_tools
from vivavoce.cli.transcript import JsonTranscript, Transcript, transcript
from vivavoce.comparing import Comparison, Difference, Limits, compare
from vivavoce.config import load_mapping
from vivavoce.files import AudioReader, WavWriter
from vivavoce.plot.pair import write_pair
from vivavoce.plot.timeline import Said, Timeline, load
from vivavoce.recording import Recorder
from vivavoce.sinks import SilentSink
from vivavoce.voice import Voice

__all__ = ["cut_turns", "replay"]

_BEFORE_MS, _AFTER_MS = 200.0, 300.0


@attrs.frozen(kw_only=True)
class _Options:
    recording: Path
    provider: str | None
    out: Path | None
    config: Path | None
    tools: tuple[str, ...]
    timeout: float
    wait: float
    manual: bool
    word_errors: float
    reply_errors: float | None
    slower: float
    as_json: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("recording", type=click.Path(path_type=Path, file_okay=False))
@click.option("--provider", metavar="NAME", shell_complete=complete_provider, help="Whom to talk to: an installed "
    "provider, or module:Class. Default: the one of the recording.")  # fmt: skip
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="A new directory for the "
    "new recording and comparison.svg. Default: RECORDING-replay-N.")  # fmt: skip
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file with the "
    "keys of Voice.from_config.")  # fmt: skip
@click.option(
    "--tools", metavar="FILE.py|MODULE:NAME", multiple=True, help="Tools that the assistant may call."
)
@click.option("--word-errors", metavar="PART", type=click.FloatRange(min=0), default=0.3, show_default=True,
    help="Fail when more of the words of a user's turn are understood otherwise.")  # fmt: skip
@click.option("--reply-errors", metavar="PART", type=click.FloatRange(min=0), help="Fail when more of the words of a "
    "reply are others. Default: replies may differ.")  # fmt: skip
@click.option("--slower", metavar="MS", type=click.FloatRange(min=0), default=500.0, show_default=True,
    help="Fail when the median answer begins so much later.")  # fmt: skip
@click.option("--timeout", metavar="MS", type=click.FloatRange(min=0, min_open=True), default=30_000, show_default=True,
    help="How long connecting may take.")  # fmt: skip
@click.option("--wait", metavar="MS", type=click.FloatRange(min=0, min_open=True), default=30_000, show_default=True,
    help="How long nothing may come while a reply is due.")  # fmt: skip
@click.option(
    "--manual", is_flag=True, help="End the user's turns where they ended, not where the service hears it."
)
@json_option
@debug_option
def replay(**options: Any) -> None:
    """Hold the conversation of RECORDING again, and compare.

    What the user said and wrote is sent again, turn by turn, each when the reply to the one before was heard. Then
    both are compared: what was understood, what was replied, how long it took. Exit status 0: as good as before.
    """
    asked = _Options(**options)
    before = load(asked.recording)
    show = transcript(asked.as_json)
    out = asked.out or _next(asked.recording)
    show.start()
    try:
        asyncio.run(_replay(asked, before, out, show))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Failed("stopped") from None
    finally:
        show.stop()
    now = load(out)
    picture = out / "comparison.svg"
    limits = Limits(word_errors=asked.word_errors, reply_errors=asked.reply_errors, slower_ms=asked.slower)
    comparison = compare(before, now, limits)
    write_pair(before, now, picture, list(_faults(comparison)))
    _report(comparison, picture, isinstance(show, JsonTranscript))


def _faults(comparison: Comparison) -> Iterator[tuple[float | None, str]]:
    """What became worse, and where in the new recording."""
    if comparison.problems:
        yield None, "; ".join(comparison.problems)
    for difference in comparison.differences:
        if difference.problems:
            now = difference.now
            at = now.user.start_ms if now is not None and now.user is not None else None
            yield at, f"turn {difference.number}: {'; '.join(difference.problems)}"


def _next(recording: Path) -> Path:
    number = 1
    while (path := recording.with_name(f"{recording.name}-replay-{number}")).exists():
        number += 1
    return path


def cut_turns(timeline: Timeline, directory: Path) -> list[AudioFile | str]:
    """The user's turns: sound cut into files in `directory`, and texts that were written. `AudioError`."""
    users = [part for part in timeline.said if part.role == "user"]
    turns: list[AudioFile | str] = []
    with AudioReader(timeline.audio) as reader:
        format, sound = reader.format, reader.read(reader.frames)
    left = b"".join(sound[n : n + 2] for n in range(0, len(sound), format.frame_bytes))
    mono = AudioFormat(format.rate)
    for number, part in enumerate(users, 1):
        if part.end_ms <= part.start_ms:
            turns += [part.text] if part.text else []
            continue
        start, end = _around(part, users)
        path = directory / f"turn-{number}.wav"
        with WavWriter(path, mono) as wav:
            wav.write(left[mono.bytes_for(start) : mono.bytes_for(end)])
        turns.append(AudioFile(path, end - start))
    return turns


def _around(part: Said, users: list[Said]) -> tuple[float, float]:
    """A little silence around a turn, but nothing of another."""
    ends = [other.end_ms for other in users if other.end_ms <= part.start_ms]
    starts = [other.start_ms for other in users if other.start_ms >= part.end_ms]
    return (
        max([0.0, part.start_ms - _BEFORE_MS, *ends]),
        min([part.end_ms + _AFTER_MS, *starts]),
    )


async def _replay(asked: _Options, before: Timeline, out: Path, show: Transcript) -> None:
    with tempfile.TemporaryDirectory(prefix="vivavoce-") as directory:
        turns = await asyncio.to_thread(cut_turns, before, Path(directory))
        if not turns:
            raise Failed(f"{asked.recording}: the user says nothing in it, so there is nothing to replay")
        recorder = Recorder(out)
        voice = _voice(asked, before, recorder)
        conversation = Conversation(
            voice,
            turns,
            sink=SilentSink(AudioFormat(voice.output_format.rate)),
            show=show,
            manual=asked.manual,
            wait_ms=asked.wait,
            is_fatal=lambda error: recorder.failure is error,
        )
        try:
            await conversation.run(timeout=asked.timeout)
        finally:
            await voice.close()
            recorder.close()


def _voice(asked: _Options, before: Timeline, recorder: Recorder) -> Voice:
    values = load_mapping(asked.config) if asked.config is not None else {}
    recorded = before.about.get("provider")
    given = asked.provider or values.pop("provider", None) or recorded
    values.pop("provider", None)
    if given is None:
        raise Failed("the recording does not say which provider it is of: give --provider NAME")
    provider = load_attribute(given) if ":" in str(given) else given
    tools = [tool for reference in asked.tools for tool in load_tools(reference)]
    if tools:
        values["tools"] = [*values.get("tools", ()), *tools]
    plugins = [*values.pop("plugins", ()), recorder]
    return Voice(provider, plugins=plugins, strict=values.pop("strict", False), **values)


def _report(comparison: Comparison, picture: Path, as_json: bool) -> None:
    if as_json:
        print_json({"type": "comparison", "passed": comparison.passed, **_plain(comparison)}, indent=0)
    else:
        print_table(["turn", "user", "reply", "latency", "verdict"], map(_row, comparison.differences))
        click.echo(
            f"median latency {_ms(comparison.median_before_ms)} before, {_ms(comparison.median_now_ms)} now"
        )
        click.echo(f"wrote {picture}")
    if not comparison.passed:
        told = [f"turn {d.number}: {text}" for d in comparison.differences for text in d.problems]
        raise Failed("; ".join([*comparison.problems, *told]))


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {
        "median_before_ms": comparison.median_before_ms,
        "median_now_ms": comparison.median_now_ms,
        "problems": list(comparison.problems),
        "turns": [
            {
                "number": d.number,
                "user": [
                    d.before.user.text if d.before.user else "",
                    d.now.user.text if d.now and d.now.user else "",
                ],
                "reply": [d.before.reply, d.now.reply if d.now else ""],
                "latency_ms": [d.before.latency_ms, d.now.latency_ms if d.now else None],
                "user_errors": round(d.user_errors, 3),
                "reply_errors": round(d.reply_errors, 3),
                "problems": list(d.problems),
            }
            for d in comparison.differences
        ],
    }


def _row(difference: Difference) -> list[str]:
    now = difference.now
    return [
        str(difference.number),
        _share(difference.user_errors),
        _share(difference.reply_errors),
        f"{_ms(difference.before.latency_ms)} → {_ms(now.latency_ms if now else None)}",
        "; ".join(difference.problems) or "ok",
    ]


def _share(errors: float) -> str:
    return "same" if not errors else f"{errors:.0%} other"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
