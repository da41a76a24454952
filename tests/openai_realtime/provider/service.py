"""A Realtime service on 127.0.0.1 for the tests of the provider: real sockets below, the protocol's server half above.

    async with Service() as service:
        voice, heard = service.voice()
        await voice.connect()
        line = service.lines[0]
        line.protocol.begin_response()
        await line.flush()

Whatever a client sends is checked against OpenAI's own types, and no field may be there that those do not have. On
leaving, nothing of a client may be left: no socket to this server, no task.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Any

from faults import FaultServer, Peer, PeerGone
from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel, TypeAdapter
from vivavoce import Voice
from vivavoce.errors import VoiceError
from vivavoce_openai_realtime.protocol import ServerProtocol
from vivavoce_openai_realtime.protocol import client_events as wire

__all__ = ["KEY", "NORMAL", "PCM_20_MS", "Heard", "Line", "Script", "Service", "speak", "talk"]

JSON = dict[str, Any]
Script = Callable[["Line"], Awaitable[None]]
KEY = "sk-test-0123456789abcdef"
PCM_20_MS = bytes(range(240)) * 4
_CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
NORMAL = [
    "session.created",
    "session.updated",
    "open",
    "turn",
    "response.created",
    "speaker",
    "speaking",
    "writing",
    "speaking.done",
    "response.done",
    "turn",
]
"""The events of a session with one text turn."""
_PATIENCE = 120.0  # virtual seconds


class Line:
    """One connection, from the service's side. `events` is all that the client sent, `appends` its audio in pieces."""

    def __init__(self, peer: Peer, service: Service) -> None:
        numbers = itertools.count(1)
        self.peer = peer
        self.service = service
        self.protocol = ServerProtocol(
            model="gpt-realtime-2.1",
            new_id=lambda prefix: f"{prefix}_{next(numbers)}",
            **service.options,
        )
        self.events: list[JSON] = []
        self.appends: list[bytes] = []
        self.deaf: set[str] = set()  # types of events that are taken and not answered
        self.gone = False
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Accept the upgrade and introduce the session."""
        await self.peer.accept()
        await self.introduce()

    async def introduce(self) -> None:
        """Tell of the session."""
        self.protocol.session_created()
        await self.flush()

    async def flush(self) -> None:
        """Send what the protocol has queued."""
        for frame in self.protocol.data_to_send():
            await self.peer.send(frame)

    async def say(self, type: str, **fields: Any) -> None:
        """Send any event."""
        await self.peer.send(json.dumps({"type": type, "event_id": "event_raw", **fields}))

    async def receive(self) -> JSON:
        """Take one event of the client, check it, and answer what needs no model."""
        try:
            frame = await self.peer.receive()
        except PeerGone:
            self.gone = True
            self._news.set()
            raise
        assert isinstance(frame, str)
        event: JSON = json.loads(frame)
        self.service.check(event)
        self.events.append(event)
        if event["type"] == "input_audio_buffer.append":
            self.appends.append(base64.b64decode(event["audio"], validate=True))
        if event["type"] not in self.deaf:
            for handed in self.protocol.receive_text(frame):
                self._act(handed)
            await self.flush()
        self._news.set()
        return event

    def _act(self, event: wire.ClientEvent) -> None:
        if isinstance(event, wire.InputAudioBufferCommit):
            self.protocol.commit()
        elif isinstance(event, wire.ResponseCancel):
            self.protocol.finish_response("cancelled", "client_cancelled")
        elif isinstance(event, wire.ResponseCreate) and self.service.replies:
            speak(self, self.service.replies.pop(0), event)

    async def serve(self) -> None:
        """Take events until the client is gone."""
        while True:
            await self.receive()

    async def until(self, type: str, count: int = 1) -> JSON:
        """Wait until the client has sent `count` events of a type; return the last of these."""
        await self.service.wait_for(
            self._news, lambda: len(self.sent(type)) >= count, f"{count} {type}; got {self.types()}"
        )
        return self.sent(type)[count - 1]

    async def until_gone(self) -> None:
        await self.service.wait_for(self._news, lambda: self.gone, "the end of the connection")

    def sent(self, type: str) -> list[JSON]:
        """The client's events of one type."""
        return [event for event in self.events if event["type"] == type]

    def types(self) -> list[str]:
        """The types of all the client sent, audio counted once in a row."""
        return [key for key, _ in itertools.groupby(event["type"] for event in self.events)]


def speak(line: Line, text: str, event: wire.ResponseCreate | None = None, *, ms: int = 100) -> str:
    """Queue a whole spoken reply of `ms` milliseconds; returns its id."""
    protocol = line.protocol
    reply = protocol.begin_response(event)
    if "audio" in protocol._replies[reply].modalities:
        for _ in range(ms // 20):
            protocol.audio(PCM_20_MS, reply)
    protocol.text(text, reply)
    protocol.finish_response(response_id=reply)
    return reply


async def talk(line: Line) -> None:
    """The script of a service that works."""
    await line.open()
    await line.serve()


class Heard:
    """All events of a voice, in order."""

    def __init__(self, voice: Voice, service: Service) -> None:
        self.events: list[tuple[str, Any]] = []
        self._service = service
        self._news = asyncio.Event()
        voice.on("*", self._take)

    def _take(self, payload: Any) -> None:
        name = "error" if isinstance(payload, VoiceError) else getattr(payload, "type", "speaker")
        self.events.append((name, payload))
        self._news.set()

    def all(self, name: str) -> list[Any]:
        return [payload for known, payload in self.events if known == name]

    def names(self) -> list[str]:
        """The names of the events, those in a row once."""
        return [key for key, _ in itertools.groupby(name for name, _ in self.events)]

    async def until(self, name: str, count: int = 1) -> Any:
        """Wait for `count` events of a name; return the last of these."""
        await self._service.wait_for(
            self._news, lambda: len(self.all(name)) >= count, f"{count} {name}; heard {self.names()}"
        )
        return self.all(name)[count - 1]

    def clear(self) -> None:
        self.events.clear()


class Service:
    """Runs `scripts`, one for each connection; the last one goes on for all others. `options` are `ServerProtocol`'s.

    `replies`: texts that the next `response.create` are answered with; with none, the test answers itself.
    """

    def __init__(
        self,
        *scripts: Script,
        replies: tuple[str, ...] = (),
        ga: bool = True,
        server: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.scripts = list(scripts) or [talk]
        self.replies = list(replies)
        self.options = options
        self.lines: list[Line] = []
        self.voices: list[Voice] = []
        self.tasks: list[asyncio.Future[Any]] = []
        """Calls that the test has under way."""
        self._ga = ga
        self._opened = asyncio.Event()
        self._server = FaultServer(self._run, **(server or {}))

    @property
    def url(self) -> str:
        return self._server.url + "v1/realtime"

    @property
    def port(self) -> int:
        return self._server.port

    async def _run(self, peer: Peer) -> None:
        line = Line(peer, self)
        self.lines.append(line)
        self._opened.set()
        script = self.scripts[min(len(self.lines), len(self.scripts)) - 1]
        await script(line)

    def voice(self, provider: Any = "openai-realtime", **config: Any) -> tuple[Voice, Heard]:
        """A voice for this service, and what it says."""
        voice = Voice(provider, **{"api_key": KEY, "url": self.url, "proxy": None, **config})
        self.voices.append(voice)
        return voice, Heard(voice, self)

    async def line(self, number: int) -> Line:
        """Wait for the connection with this number, from 0."""
        await self.wait_for(self._opened, lambda: len(self.lines) > number, f"connection {number}")
        return self.lines[number]

    async def wait_for(self, news: asyncio.Event, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not holds():
                    news.clear()
                    await news.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}") from None

    def check(self, event: JSON) -> None:
        """Fail for an event of the client that OpenAI's types do not know, or a field that they have not."""
        if self._ga:
            extra = list(_unknown(_CLIENT.validate_python(event, strict=True), event["type"]))
            assert extra == [], extra

    async def __aenter__(self) -> Service:
        self._before = asyncio.all_tasks()
        await self._server.__aenter__()
        return self

    async def __aexit__(self, kind: Any, *rest: Any) -> None:
        for voice in self.voices:
            await voice.close()
        left = self._left() if kind is None else []
        await self._server.__aexit__(kind, *rest)
        if self._server._failures:  # whatever else failed, failed because of this
            raise self._server._failures[0]
        assert left == []

    async def check_next_session(self, voice: Voice, heard: Heard) -> None:
        """After a fault: connect again, speak, and find nothing of the old session in the new one."""
        heard.clear()
        self.replies[:] = ["Fine"]
        await voice.connect()
        await voice.send_text("Still there?")
        reply = await voice.answer()
        assert await reply.text() == "Fine"
        await heard.until("turn", 2)
        assert heard.names() == NORMAL
        assert self.lines[-1].sent("input_audio_buffer.append") == []

    def _left(self) -> list[str]:
        tasks = asyncio.all_tasks() - self._before - set(self._server._tasks) - {asyncio.current_task()}
        found = [f"task {task.get_name()}" for task in tasks if not task.done()]
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # no longer there, or not connected
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    with socket.socket(fileno=os.dup(int(name))) as twin:
                        if twin.family == socket.AF_INET and twin.getpeername()[1] == self.port:
                            found.append(f"socket {name}")
        return found


def _unknown(value: Any, path: str) -> Any:
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _unknown(inner, f"{path}[{place}]")
