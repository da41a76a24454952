"""The service that the kit plays: meets connections as it was told to, replies, and records what it heard."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vivavoce import AudioFormat
from vivavoce.testing import ramp

from vivavoce_conformance.peer.connection import Connection, Gone, Stream, WebSocket
from vivavoce_conformance.peer.dialect import Asked, Frame, PeerDialect
from vivavoce_conformance.peer.lane import picture
from vivavoce_conformance.peer.script import Plan, Reply, Seen

__all__ = ["Service"]

_WIRE = 24


class _Talk:
    """One connection that is being served."""

    def __init__(self, connection: Connection, dialect: PeerDialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.reply: asyncio.Task[None] | None = None
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()


def _calls(hung_up: Callable[[], None]) -> Any:
    from vivavoce_conformance.peer.callservice import Calls  # loads aiortc

    return Calls(hung_up)


class Service:
    """All connections since `reset`, in order."""

    def __init__(self, make_dialect: type[PeerDialect]) -> None:
        self._make = make_dialect
        self._calls = _calls(self._hung_up) if make_dialect.transport == "webrtc" else None
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.reset(Plan())

    def reset(self, plan: Plan) -> None:
        """End what is left of the check before, and begin a new record."""
        for task, writer in tuple(self._tasks.items()):
            task.cancel()
            writer.transport.abort()
        self.plan = plan
        self.seen = Seen()
        self.audio = bytearray()
        self.spoken = bytearray()
        self._wire: deque[str] = deque(maxlen=_WIRE)
        self._accepts = deque(plan.accept)
        self._replies = deque(plan.replies)
        self.talks: list[_Talk] = []

    def report(self) -> Seen:
        """What was seen so far."""
        self.seen.wire = list(self._wire)
        self.seen.audio_bytes = len(self.audio)
        return self.seen

    def _hung_up(self) -> None:
        self.seen.asked.append({"kind": "hang_up", "connection": self.seen.connections})

    # Connections.

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from TCP's first moment; of a call, from its offer."""
        request = None
        if self._calls is not None and (request := await self._calls.request(reader, writer)) is None:
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        seen = self.seen
        seen.connections += 1
        seen.open += request is None  # a call is one when its client is there
        try:
            how = self._accepts.popleft() if self._accepts else "normal"
            if request is None or self._calls is None or how == "silent":
                await self._meet(reader, writer, how)
            else:
                self.seen.requests.append(request.head)
                self._look(request.head)
                await self._calls.meet(request, writer, how, partial(self._call, how=how, seen=seen))
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as bug:
            seen.failures.append(f"{type(bug).__name__}: {bug}")
        finally:
            seen.open -= request is None
            del self._tasks[task]
            writer.transport.abort()

    async def _call(self, call: Connection, how: str, seen: Seen) -> None:
        seen.open += 1
        try:
            await self._talk(call, self._make(), how)
        finally:
            seen.open -= 1

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, how: str) -> None:
        plan, dialect = self.plan, self._make()
        connection: Stream
        if how == "silent":
            while await reader.read(65536):
                pass
            return
        if dialect.transport == "websocket":
            socket = connection = WebSocket(reader, writer, slow=plan.slow, fragments=plan.fragments)
            if how != "drop":
                self.seen.requests.append(await socket.upgrade(how))
                self._look(self.seen.requests[-1])
                dialect.request(self.seen.requests[-1].partition("\n")[0])
        else:
            connection = Stream(reader, writer, slow=plan.slow)
        if how == "drop":
            connection.drop()
            return
        await self._talk(connection, dialect, how)

    async def _talk(self, connection: Connection, dialect: PeerDialect, how: str) -> None:
        talk = _Talk(connection, dialect)
        if how == "mute":
            while True:
                self._note(">", await connection.receive())
        self.talks.append(talk)
        try:
            await self._converse(talk, self.plan, how)
        finally:
            if talk.reply is not None:
                talk.reply.cancel()

    async def _converse(self, talk: _Talk, plan: Plan, how: str) -> None:
        await self.send(talk, talk.dialect.open())
        while True:
            frame = await talk.connection.receive()
            self._note(">", frame)
            self._look(frame)
            asked, answers = talk.dialect.receive(frame)
            if how.startswith("configured:") and any(one.kind == "configure" for one in asked):
                if how == "configured:drop":
                    await talk.connection.fault("drop", 0)
                    return
                answers = ()
            if answers and plan.lag:
                await asyncio.sleep(plan.lag)
            # The acknowledgement is counted before it is sent: a client that has it must find it counted.
            self.seen.acknowledged += sum(one.kind == "configure" for one in asked if answers)
            await self.send(talk, answers)
            for one in asked:
                self._take(talk, one)
            if plan.deaf and self.seen.acknowledged:
                await talk.connection.fault("stall", 0)
                await asyncio.get_running_loop().create_future()

    def _take(self, talk: _Talk, asked: Asked) -> None:
        if asked.kind == "audio":
            self.audio += asked.audio
            return
        self.seen.asked.append({"kind": asked.kind, "connection": self.seen.connections, **asked.data})
        if asked.kind == "respond":
            self.begin(talk, asked.token)
        elif asked.kind == "cancel":
            talk.cancelled.set()

    async def send(self, talk: _Talk, frames: Sequence[Frame]) -> None:
        """Send frames, and keep a picture of them."""
        for frame in frames:
            self._note("<", frame)
            await talk.connection.send(frame)

    def _look(self, frame: Frame) -> None:
        """Whether the secret is in what arrived."""
        text = frame if isinstance(frame, str) else frame.decode(errors="replace")
        self.seen.secret = self.seen.secret or (bool(self.plan.secret) and self.plan.secret in text)

    def _note(self, way: str, frame: Frame) -> None:
        shown = picture(way, frame)
        if self._calls is not None and '"input_audio_buffer.append"' in shown[:60]:
            return  # a call's silence would be all there is to see
        self._wire.append(shown)

    # Replies.

    def begin(self, talk: _Talk, token: Any) -> None:
        """Reply as planned."""
        reply = self._replies.popleft() if self._replies else Reply()
        self.seen.replies += 1
        talk.release.clear()
        talk.cancelled.clear()
        talk.reply = asyncio.get_running_loop().create_task(self._guarded(talk, reply, token))

    async def _guarded(self, talk: _Talk, reply: Reply, token: Any) -> None:
        try:
            await self._play(talk, reply, token)
        except (Gone, ConnectionError):
            pass
        except Exception as bug:
            self.seen.failures.append(f"{type(bug).__name__}: {bug}")

    async def _play(self, talk: _Talk, reply: Reply, token: Any) -> None:
        dialect = talk.dialect
        if reply.refuse:
            await self.send(talk, dialect.refuse(token, reply.refuse, "the peer refuses this reply"))
            return
        if reply.late:
            await self._held(talk)
        await self.send(talk, dialect.begin(token))
        status = reply.status
        if await self._audio(talk, reply) or (reply.hold and await self._held(talk)):
            status = "cancelled"
        if status != "cancelled":
            for name, arguments, call_id in reply.calls:
                await self.send(talk, dialect.tool_call(name, arguments, call_id))
        await self.send(talk, dialect.finish(status))

    async def _audio(self, talk: _Talk, reply: Reply) -> bool:
        """Text and audio, side by side; whether it was cancelled."""
        dialect = talk.dialect
        format = AudioFormat(dialect.rate)
        pieces = [
            format.bytes_for(min(reply.chunk_ms, reply.audio_ms - start))
            for start in range(0, reply.audio_ms, reply.chunk_ms)
        ]
        words = [word + " " for word in reply.text.split(" ")] if reply.text else []
        if words:
            words[-1] = words[-1][:-1]
        for place in range(max(len(pieces), len(words))):
            if place < len(words):
                await self.send(talk, dialect.text(words[place]))
            if place < len(pieces):
                at = len(self.spoken)
                piece = dialect.sound(1000 * pieces[place] / (2 * format.rate) + 0.001, at // 2)[
                    : pieces[place]
                ]
                self.spoken += piece
                await self.send(talk, dialect.audio(piece))
            if place == 0 and reply.hold_first and await self._held(talk):
                return True
            if talk.cancelled.is_set():
                return True
        return False

    async def _held(self, talk: _Talk) -> bool:
        """Wait for `release` or a cancellation; whether it was the latter."""
        waits = [asyncio.ensure_future(event.wait()) for event in (talk.release, talk.cancelled)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return talk.cancelled.is_set()
        finally:
            for wait in waits:
                wait.cancel()

    # What the peer does by itself, when it is told to.

    async def act(self, what: str, data: dict[str, Any]) -> None:
        """One of: a fault below the dialect; `error`, `unknown`, `malformed`, `binary`, `huge`, `speech`, `reply`, `release`."""
        talk = self.talks[-1]
        dialect = talk.dialect
        if what == "release":
            talk.release.set()
        elif what == "reply":
            self.begin(talk, None)
        elif what in ("error", "speech", "speech_started", "unknown", "malformed"):
            await self.send(talk, getattr(dialect, what)(**data))
        elif what == "huge":
            await self._huge(talk, **data)
        elif what == "binary":
            await self.send(talk, [b"\x00\x01\x02"])
        else:
            await talk.connection.fault(what, int(data.get("code", 0)))

    async def _huge(self, talk: _Talk, size: int) -> None:
        audio = ramp(1000 * size / (2 * talk.dialect.rate), AudioFormat(talk.dialect.rate))
        self.spoken[:] = audio
        await self.send(talk, talk.dialect.begin(None))
        await self.send(talk, talk.dialect.audio(audio))
        await self.send(talk, talk.dialect.finish("completed"))
