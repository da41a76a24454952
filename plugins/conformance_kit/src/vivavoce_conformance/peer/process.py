"""The peer's process: `main` with a dialect as its argument prints its two ports, and ends with its stdin.

The control channel takes one line of JSON, does it, and answers in one line.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from vivavoce_conformance import integrity
from vivavoce_conformance.peer.script import Plan, Seen
from vivavoce_conformance.peer.service import Service
from vivavoce_conformance.profile import load_object

__all__ = ["Control", "RealControl", "listen", "main"]

_TICK = 0.004
_LIMIT = 64 * 1024 * 1024
_TURNS = 6
"""Turns of the loop from a connection in the kernel's queue to one that is served."""


class Control:
    """What a line asks, done on the service: the kit's own, or whoever stands for a real one."""

    def __init__(self, service: Any, changed: Callable[[], list[str]] = list) -> None:
        self._service = service
        self._changed = changed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One line after the other, until whoever asks has left."""
        while line := await reader.readline():
            request = msgspec.json.decode(line)
            try:
                answer = await getattr(self, f"do_{request.pop('do')}")(**request)
            except Exception as bad:  # told to the check, which is the one who asked
                answer = {"failed": f"{type(bad).__name__}: {bad}"}
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        writer.close()

    async def do_reset(self, plan: dict[str, Any]) -> None:
        for _ in range(_TURNS):  # a connection that was given up is still let in, and is none of the new plan
            await asyncio.sleep(0)
        self._service.reset(msgspec.convert(plan, Plan))
        await asyncio.sleep(0)

    async def do_seen(self) -> Seen:
        seen: Seen = self._service.report()
        if changed := self._changed():
            seen.failures = [f"it was changed by the dialect: {', '.join(changed[:6])}"]
        return seen

    async def do_heard(self) -> str:
        return base64.b64encode(self._service.audio).decode()

    async def do_spoken(self) -> str:
        return base64.b64encode(self._service.spoken).decode()

    async def do_act(self, what: str, data: dict[str, Any]) -> None:
        await self._service.act(what, data)

    async def do_wait(self, kind: str, count: int, timeout: float) -> bool:
        """Wait until `count` of something was asked; `audio` counts bytes, `open` and others are fields of `Seen`."""
        until = asyncio.get_running_loop().time() + timeout
        while not self._reached(kind, count):
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(_TICK)
        return True

    def _reached(self, kind: str, count: int) -> bool:
        seen: Seen = self._service.report()
        if kind == "closed":
            return seen.open <= count
        if kind in ("connections", "open", "replies", "audio_bytes", "secret"):
            return bool(getattr(seen, kind) >= count)
        return len(seen.of(kind)) >= count


class RealControl(Control):
    """The same, as far as it goes with a service that is not the kit's: a check, and the end of one."""

    async def do_reset(self, plan: dict[str, Any], check: str = "") -> None:
        self._service.turn_to(check)
        await asyncio.sleep(0)

    async def do_look(self, secret: str) -> None:
        self._service.look_for(secret)

    async def do_finish(self) -> None:
        self._service.finish()


async def listen(serve: Any, rcvbuf: int | None = None) -> tuple[asyncio.Server, int]:
    """A server on a port of this machine, and the port."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if rcvbuf is not None:  # so that a peer which stops reading is felt soon
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(serve, sock=sock, limit=_LIMIT)
    return server, sock.getsockname()[1]


async def _main(dialect: str) -> None:
    before, noted = integrity.fingerprint(), integrity.watch()
    service = Service(load_object(dialect))
    _, port = await listen(service.serve, rcvbuf=64 * 1024)
    _, control = await listen(Control(service, lambda: [*integrity.changes(before), *noted]).serve)
    print(port, control, flush=True)
    # The end of whoever started us is the end of our stdin.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    """Serve until stdin ends."""
    asyncio.run(_main(sys.argv[1]))
