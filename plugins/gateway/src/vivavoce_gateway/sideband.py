"""A sideband: a WebSocket that has joined a running call (guide "Realtime API server-side controls",
https://developers.openai.com/api/docs/guides/realtime-server-controls).

It is sent what the call's data channel is sent, and may ask for everything but to be heard. It comes and goes without the
call, and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from vivavoce_openai_realtime.protocol import Fault, ServerProtocol

from vivavoce_gateway.config import Limits
from vivavoce_gateway.limits import Bucket
from vivavoce_gateway.outbox import Outbox
from vivavoce_gateway.session import Channel

__all__ = ["Sideband", "message_of"]

_GOODBYE_S = 3.0
_BURST_S = 10.0
_APPEND = "input_audio_buffer.append"


class Sideband:
    """`ask` hands a message to the call's session, and waits until it was taken."""

    def __init__(
        self, channel: Channel, limits: Limits, ask: Callable[[str | bytes], Awaitable[None]]
    ) -> None:
        self._channel = channel
        self._ask = ask
        self._rate = limits.events_per_second
        self._outbox = Outbox(
            channel.send, bound=limits.unsent_bytes, deadline=limits.send_seconds, slow=self._slow
        )
        self._errors = ServerProtocol(model="")
        self._ending: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def put(self, frame: bytes) -> None:
        """An event for its client."""
        self._outbox.put([frame])

    def end(self, code: int, reason: str) -> None:
        """The call is over, for this reason; the first end counts."""
        if not self._ending.done():
            self._ending.set_result((code, reason))

    def _slow(self) -> None:
        self.end(1008, "the client does not read")

    async def run(self) -> None:
        """Hold it until its client goes or the call ends."""
        loop = asyncio.get_running_loop()
        sending, reading = loop.create_task(self._outbox.run()), loop.create_task(self._read())
        try:
            ends: set[asyncio.Future[Any]] = {reading, self._ending}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.done():
                await self._goodbye(*self._ending.result())
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)

    async def _goodbye(self, code: int, reason: str) -> None:
        await self._outbox.drained(_GOODBYE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._channel.close(code, reason)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        bucket = Bucket(self._rate, self._rate * _BURST_S, loop.time())
        while (message := await self._channel.receive()) is not None:
            if (wait := bucket.wait(1, loop.time())) > 0:
                await asyncio.sleep(wait)
            asked = message_of(message)
            if asked.get("type") == _APPEND:
                self._refuse(asked.get("event_id"))
            else:
                await self._ask(message)

    def _refuse(self, event_id: Any) -> None:
        text = "The audio of a call comes by its track: a sideband cannot append any."
        fault = Fault("invalid_value", text, "type")
        self._errors.error(fault, event_id if isinstance(event_id, str) else None)
        self._outbox.put(self._errors.data_to_send())


def message_of(text: str | bytes) -> dict[str, Any]:
    """A message as JSON; empty for one that is no object."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
