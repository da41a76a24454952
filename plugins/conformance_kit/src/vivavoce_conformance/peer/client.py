"""The check's end of the control channel."""

from __future__ import annotations

import asyncio
import base64
from types import TracebackType
from typing import Any, Self

import msgspec

from vivavoce_conformance.peer.script import Plan, Seen
from vivavoce_conformance.registry import NotApplicable, Unmet

__all__ = ["PeerClient", "RealPeer"]

_LIMIT = 64 * 1024 * 1024
_PATIENCE = 6.0


class PeerClient:
    """Tells the peer what to do, and asks what it saw. `port` is where the provider connects."""

    scripted = True
    """Whether it can be told how to answer."""

    def __init__(self, port: int, control: int) -> None:
        self.port = port
        self._control = control

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._control, limit=_LIMIT)
        await self.plan(Plan())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def _ask(self, do: str, **fields: Any) -> bytes:
        self._writer.write(msgspec.json.encode({"do": do, **fields}) + b"\n")
        answer = await self._reader.readline()
        if answer.startswith(b'{"failed"'):
            raise RuntimeError(f"the kit's peer failed: {answer.decode()}")
        return answer

    async def plan(self, plan: Plan) -> None:
        """Forget everything and begin anew with this plan."""
        await self._ask("reset", plan=plan)

    async def seen(self) -> Seen:
        """What it has recorded."""
        return msgspec.json.decode(await self._ask("seen"), type=Seen)

    async def heard(self) -> bytes:
        """The audio it received."""
        return base64.b64decode(msgspec.json.decode(await self._ask("heard")))

    async def spoken(self) -> bytes:
        """The audio it sent."""
        return base64.b64decode(msgspec.json.decode(await self._ask("spoken")))

    async def act(self, what: str, **data: Any) -> None:
        """Do something by itself on the newest connection."""
        await self._ask("act", what=what, data=data)

    async def reaches(self, kind: str, count: int = 1, timeout: float = _PATIENCE) -> bool:
        """Wait until it saw `count` of a kind; whether it did."""
        return bool(msgspec.json.decode(await self._ask("wait", kind=kind, count=count, timeout=timeout)))

    async def until(self, kind: str, count: int = 1, what: str | None = None) -> Seen:
        """Wait as `reaches` does, and raise `Unmet` if it never came."""
        if not await self.reaches(kind, count):
            raise Unmet(what or f"the service never got {count} × {kind!r}")
        return await self.seen()


class RealPeer(PeerClient):
    """The same for a real service behind the kit's proxy, or a cassette: it can be looked at, and told nothing."""

    scripted = False

    def __init__(self, port: int, control: int, check: str) -> None:
        super().__init__(port, control)
        self._check = check

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ask("finish")
        await super().__aexit__(kind, raised, trace)

    async def plan(self, plan: Plan) -> None:
        """Begin anew. Raises `NotApplicable` for a plan that a real service would have to follow; it is as slow as it is.
        What arrives can be looked through all the same."""
        if msgspec.structs.replace(plan, lag=0.0, secret="") != Plan():
            raise NotApplicable("it needs a service that answers as it is told")
        if self._check:
            await self._ask("reset", plan=Plan(), check=self._check)
            self._check = ""
        if plan.secret:
            await self._ask("look", secret=plan.secret)

    async def act(self, what: str, **data: Any) -> None:
        """No real service does that on demand."""
        raise NotApplicable(f"it needs a service that misbehaves when it is told to ({what})")

    async def spoken(self) -> bytes:
        """What it said is the service's own."""
        raise NotApplicable("it needs to know what the service will say")
