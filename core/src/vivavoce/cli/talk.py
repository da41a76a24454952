"""`vivavoce talk`: a conversation from the command line."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import attrs
import click

from vivavoce.audio import AudioFormat
from vivavoce.cli.completion import complete_provider
from vivavoce.cli.console import Failed, complain, debug_option, is_live, json_option
from vivavoce.cli.conversation import Conversation
from vivavoce.cli.livescreen import LiveScreen
from vivavoce.cli.loading import AudioFile, load_attribute, load_tools, look_into
from vivavoce.cli.transcript import Said, Summary, Transcript, transcript
from vivavoce.composite import realtime_candidates
from vivavoce.config import load_mapping
from vivavoce.errors import AudioError, VoiceError
from vivavoce.recording import AudioRecorder, Recorder
from vivavoce.sinks import SilentSink
from vivavoce.streams import Sink
from vivavoce.voice import Voice

__all__ = ["talk"]


@attrs.frozen(kw_only=True)
class _Options:
    """What was asked for, as click gives it."""

    provider: str | None
    inputs: tuple[str, ...]
    texts: tuple[str, ...]
    out: str | None
    record: Path | None
    config: Path | None
    timeout: float
    wait: float
    reconnect: bool
    pace: bool
    manual: bool
    speaker: str | None
    instructions: str | None
    model: str | None
    url: str | None
    tools: tuple[str, ...]
    as_json: bool
    headphones: bool
    cancel_echo: bool
    push_to_talk: bool
    local_turns: bool
    input_device: str | None
    output_device: str | None

    @property
    def is_live(self) -> bool:
        """By microphone: asked for, or nothing else was given to say."""
        return "mic" in self.inputs or not (self.inputs or self.texts)

    @property
    def plays(self) -> bool:
        """Whether replies are heard at a speaker."""
        return self.is_live or self.out == "speaker"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--provider", metavar="NAME", shell_complete=complete_provider, help="Whom to talk to: an installed "
    "provider, or module:Class. Default: VIVAVOCE_PROVIDER, else the only one that can be used.")  # fmt: skip
@click.option("--in", "inputs", metavar="FILE|mic", multiple=True, type=click.Path(), help="What the user says: a "
    "sound file. Several are several turns; each waits until the reply to the one before was heard. mic: live; the "
    "default when there is neither file nor text.")  # fmt: skip
@click.option("--text", "texts", metavar="TEXT", multiple=True, help="What the user writes, after the files. "
    "May be given several times.")  # fmt: skip
@click.option("--out", metavar="FILE|speaker", type=click.Path(), help="A WAV of both sides: the user left, "
    "the assistant right. speaker: hear the replies, also to files and texts.")  # fmt: skip
@click.option("--record", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Record into a new "
    "directory: sound, every event, and a picture of the timeline.")  # fmt: skip
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file with the "
    "keys of Voice.from_config; the options here go before it.")  # fmt: skip
@click.option("--speaker", metavar="NAME", help="The voice of the replies.")
@click.option("--instructions", metavar="TEXT", help="How the assistant should behave.")
@click.option("--model", metavar="NAME", help="The model of the provider.")
@click.option("--url", metavar="URL", help="The address of the service.")
@click.option("--tools", metavar="FILE.py|MODULE:NAME", multiple=True, help="Tools that the assistant may call: those "
    "in a file, or by name.")  # fmt: skip
@click.option("--timeout", metavar="MS", type=click.FloatRange(min=0, min_open=True), default=30_000, show_default=True,
    help="How long connecting may take.")  # fmt: skip
@click.option("--wait", metavar="MS", type=click.FloatRange(min=0, min_open=True), default=30_000, show_default=True,
    help="How long nothing may come while a reply is due.")  # fmt: skip
@click.option("--reconnect", is_flag=True, help="Connect again when the connection is lost.")
@click.option(
    "--pace/--no-pace", default=True, help="Send files at the speed of speech, or as fast as they are read."
)
@click.option(
    "--manual", is_flag=True, help="End the user's turn where the file ends, not where the service hears it."
)
@click.option("--headphones", is_flag=True, help="The microphone does not hear the speaker: listen while it sounds, "
    "so that replies can be interrupted by speaking.")  # fmt: skip
@click.option("--cancel-echo", is_flag=True, help="The same on open speakers: take what the speaker plays out of what "
    "the microphone hears. Needs the extra `echo`.")  # fmt: skip
@click.option("--push-to-talk", is_flag=True, help="Listen only between two presses of the space bar.")
@click.option("--local-turns", is_flag=True, help="Find the user's turns here and send speech alone, for a session "
    "whose turns are by hand (see --config). Needs the extra `vad`.")  # fmt: skip
@click.option("--input-device", metavar="NAME", help="The microphone: its name, a part of it, or its index.")
@click.option("--output-device", metavar="NAME", help="The speaker: its name, a part of it, or its index.")
@json_option
@debug_option
def talk(**options: Any) -> None:
    """Hold a conversation with a provider.

    \b
    vivavoce talk --provider local                           by microphone and speaker
    vivavoce talk --provider local --in hello.wav --in question.wav --record first
    vivavoce talk --provider openai-realtime --text "Tell me a joke." --out joke.wav

    Prints who said what and when, and how long each answer took: from the end of the user's speech to the first sound
    of the reply. Ctrl-C ends it; what was recorded until then is kept. Credentials come from the environment.
    """
    asked = _Options(**options)
    _check(asked)
    show = LiveScreen() if asked.is_live and is_live() and not asked.as_json else transcript(asked.as_json)
    recorders = _recorders(asked)
    show.start()
    try:
        asyncio.run(_talk(asked, recorders, show))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Failed(f"stopped{_kept(recorders)}") from None
    except (VoiceError, Failed) as bad:
        if not (kept := _kept(recorders)):
            raise
        raise Failed(f"{str(bad).rstrip('.')}{kept}") from bad
    finally:
        show.stop()


def _kept(recorders: list[AudioRecorder]) -> str:
    there = [str(recorder.path) for recorder in recorders if recorder.recorded]
    return f"; what was recorded is in {' and '.join(there)}" if there else ""


def _check(asked: _Options) -> None:
    wrong = ""
    if "mic" in asked.inputs and (len(asked.inputs) > 1 or asked.texts):
        wrong = "--in mic goes alone: no files and texts beside it"
    elif (heard := _overwritten(asked)) is not None:
        wrong = f"--out {asked.out} is also what the user says (--in {heard}): give another name"
    elif asked.local_turns and not asked.is_live:
        wrong = "--local-turns is for the microphone: files are sent as turns anyway with --manual"
    if wrong:
        raise click.UsageError(wrong, click.get_current_context())


def _overwritten(asked: _Options) -> str | None:
    """The file to be sent that the sound would be written to."""
    out = Path(asked.out or "")
    if asked.out in (None, "speaker") or not out.is_file():
        return None
    there = (name for name in asked.inputs if name != "mic" and Path(name).is_file())
    return next((name for name in there if out.samefile(name)), None)


def _recorders(asked: _Options) -> list[AudioRecorder]:
    recorders: list[AudioRecorder] = []
    if asked.out is not None and asked.out != "speaker":
        recorders.append(AudioRecorder(asked.out))
    if asked.record is not None:
        recorders.append(Recorder(asked.record))
    return recorders


def _voice(asked: _Options, recorders: list[AudioRecorder]) -> Voice:
    values = load_mapping(asked.config) if asked.config is not None else {}
    for key in ("speaker", "instructions", "model", "url"):
        if getattr(asked, key) is not None:
            values[key] = getattr(asked, key)
    tools = [tool for reference in asked.tools for tool in load_tools(reference)]
    if tools:
        values["tools"] = [*values.get("tools", ()), *tools]
    provider = asked.provider or values.pop("provider", None)
    values.pop("provider", None)
    plugins = [*values.pop("plugins", ()), *recorders]
    return Voice(_provider(provider), plugins=plugins, strict=values.pop("strict", False), **values)


def _provider(given: str | None) -> Any:
    if given is not None and ":" in given:
        return load_attribute(given)
    import os

    if given is not None or os.environ.get("VIVAVOCE_PROVIDER", "").strip():
        return given
    names, _ = realtime_candidates()
    if len(names) == 1:
        return names[0]
    which = f"there are {', '.join(names)}" if names else "none that is installed can be used as it is"
    raise Failed(f"which provider? {which}: give --provider NAME (`vivavoce providers` lists them)")


async def _talk(asked: _Options, recorders: list[AudioRecorder], show: Transcript) -> None:
    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    files = [await asyncio.to_thread(look_into, Path(name)) for name in asked.inputs if name != "mic"]
    voice = _voice(asked, recorders)
    sink = _sink(voice, asked)
    try:
        if "realtime" in voice.capabilities:
            summary = await _converse(voice, asked, files, recorders, show, sink)
        else:
            summary = await _use(voice, asked, files, show, sink)
    finally:
        try:
            await voice.close()
            await _awaited(getattr(sink, "close", lambda: None)())
        finally:  # a second Ctrl-C waits for nothing, but a recording is complete
            for recorder in recorders:
                recorder.close()
    show.stop()
    _raise_failure(recorders)
    written = [str(recorder.path) for recorder in recorders if recorder.path.exists()]
    if asked.record is not None:
        if isinstance(show, LiveScreen):
            click.echo("drawing the timeline ...")
        written += await asyncio.to_thread(_draw, recorders[-1].path)
    show.summary(attrs.evolve(summary, files=written))


async def _converse(
    voice: Voice,
    asked: _Options,
    files: list[AudioFile],
    recorders: list[AudioRecorder],
    show: Transcript,
    sink: Sink,
) -> Summary:
    # A recording is why this was run: when it ends early, so does the conversation.
    rest: dict[str, Any] = {
        "show": show,
        "manual": asked.manual,
        "wait_ms": asked.wait,
        "is_fatal": lambda error: any(recorder.failure is error for recorder in recorders),
    }
    if asked.is_live:
        conversation = _live(voice, asked, rest)
    else:
        turns: list[AudioFile | str] = [*files, *asked.texts]
        conversation = Conversation(voice, turns, sink=sink, pace=asked.pace, **rest)
    try:
        await conversation.run(timeout=asked.timeout, reconnect=asked.reconnect)
    except AudioError as bad:
        if asked.inputs or asked.texts or bad.code not in ("portaudio_missing", "device_missing"):
            raise
        raise Failed(f"{bad}. Without sound: give --in FILE or --text TEXT") from bad
    return Summary(conversation.turns, conversation.latencies_ms, voice.usage, ())


def _live(voice: Voice, asked: _Options, rest: dict[str, Any]) -> Conversation:
    from vivavoce.cli.livetalk import LiveTalk
    from vivavoce.devices import DeviceEvent, EchoCanceller, Microphone, Speaker

    def tell(event: DeviceEvent) -> None:
        conversation.device_event(event)

    speaker = Speaker(_device(asked.output_device), on_event=tell)
    microphone = Microphone(
        _device(asked.input_device),
        gate=None if asked.headphones or asked.cancel_echo else speaker,
        echo=EchoCanceller(speaker) if asked.cancel_echo else None,
        push_to_talk=asked.push_to_talk,
        on_event=tell,
    )
    conversation = LiveTalk(
        voice, microphone=microphone, speaker=speaker, local_turns=asked.local_turns, **rest
    )
    return conversation


def _sink(voice: Voice, asked: _Options) -> Sink:
    if not asked.plays:
        return SilentSink(AudioFormat(voice.output_format.rate))
    from vivavoce.devices import Speaker

    return Speaker(_device(asked.output_device))


def _device(given: str | None) -> int | str | None:
    return int(given) if given is not None and given.isdecimal() else given


def _raise_failure(recorders: list[AudioRecorder]) -> None:
    for recorder in recorders:
        if recorder.failure is not None:
            raise recorder.failure


async def _use(
    voice: Voice, asked: _Options, files: list[AudioFile], show: Transcript, sink: Sink
) -> Summary:
    """A provider that only listens or speaks: each file becomes text, each text is spoken."""
    for needed, given in (("listen", files), ("speak", asked.texts)):
        if given and needed not in voice.capabilities:
            raise Failed(
                f"{voice.provider!r} cannot {needed}, nor hold a conversation: see `vivavoce providers` for one that can"
            )
    if not files and not asked.texts:
        raise Failed(f"{voice.provider!r} holds no conversation: give --in FILE or --text TEXT")
    loop = asyncio.get_running_loop()
    zero = loop.time()
    for file in files:
        began = (loop.time() - zero) * 1000
        text = await voice.listen(file.path)
        show.turn(Said("user", text, began, (loop.time() - zero) * 1000))
    for text in asked.texts:
        asked_at = loop.time()
        stream = await voice.speak(text)
        async with aclosing(_first_at(stream)) as audio:
            began = await anext(audio)
            show.turn(Said("assistant", text, (began - zero) * 1000, None, (began - asked_at) * 1000))
            async for chunk in audio:
                await _awaited(sink.write(chunk))
        await _awaited(sink.drain())
    return Summary(len(files) + len(asked.texts), (), voice.usage, ())


async def _awaited(result: Any) -> None:
    if result is not None:
        await result


async def _first_at(stream: Any) -> Any:
    """The time of the first chunk, then the chunks."""
    told = False
    async for chunk in stream:
        if not told:
            told = True
            yield asyncio.get_running_loop().time()
        yield chunk
    if not told:
        raise Failed("the provider said nothing: give it another text")


def _draw(directory: Path) -> list[str]:
    """The pictures of a recording. The one in HTML needs no matplotlib."""
    from vivavoce.plot import draw

    written = []
    for name in ("timeline.png", "timeline.html"):
        try:
            written.append(str(draw(directory, directory / name)))
        except VoiceError as bad:
            complain(f"no {name}: {bad}", "vivavoce talk")
    return written
