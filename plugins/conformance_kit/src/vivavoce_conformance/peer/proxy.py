"""Between a provider and a real service: passes everything on, counts it, and keeps it for a cassette.

As a process it prints its two ports and takes the control channel of the kit's own peer, so checks look at a real
service as they look at the kit's. What a real service cannot be told to do, `RealPeer` refuses.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from vivavoce_conformance.peer.dialect import PeerDialect
from vivavoce_conformance.peer.lane import Lane, Record
from vivavoce_conformance.peer.observer import Job, Observer, Purse
from vivavoce_conformance.peer.process import RealControl, listen
from vivavoce_conformance.peer.routes import TCPRoute, WebSocketRoute
from vivavoce_conformance.peer.script import Seen
from vivavoce_conformance.profile import load_object
from vivavoce_conformance.scrub import Scrubber
from vivavoce_conformance.tape import Cassette, Recorder, write_cassette

__all__ = ["Proxy", "main"]


class Proxy:
    """One service, many connections; a record and a cassette for each check."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._dialect: type[PeerDialect] | None = load_object(job.dialect) if job.dialect else None
        self.transport = self._dialect.transport if self._dialect is not None else job.transport
        self.scrubber = Scrubber(os.environ.get(name, "") for name in job.secrets)
        self.purse = Purse(job.budget) if job.budget is not None else None
        route = WebSocketRoute if self.transport == "websocket" else TCPRoute
        self._route = route(job.service, self._lane)
        self._check = ""
        self._record = Record(Recorder(self.scrubber))
        self.spoken = bytearray()

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port."""
        return await self._route.start(port)

    def turn_to(self, check: str) -> None:
        """End what is left of the check before, and begin a new record."""
        self.finish()
        self._check = check
        self._record = Record(Recorder(self.scrubber))

    def look_for(self, secret: str) -> None:
        """Tell whether this is in what the provider says."""
        self._record.secret = secret

    def finish(self) -> None:
        """End every connection, and write the cassette of this check if there were any."""
        self._route.drop()
        if self._job.record and self._check and self._record.seen.connections:
            write_cassette(Path(self._job.record) / f"{self._check}.jsonl", self.cassette())
            self._check = ""

    async def close(self) -> None:
        """The end: nothing is listened to any more."""
        self.finish()
        await self._route.close()

    def cassette(self) -> Cassette:
        """What was recorded so far."""
        return self._record.recorder.cassette(
            service=self._job.service, transport=self.transport, dialect=self._job.dialect, about=self._check
        )

    @property
    def is_full(self) -> bool:
        """Whether there was more than a cassette holds."""
        return self._record.recorder.is_full

    @property
    def audio(self) -> bytearray:
        """What the provider sent."""
        return self._record.audio

    def report(self) -> Seen:
        """What was seen of this check, without a secret in what is shown."""
        seen = self._record.report()
        seen.wire = [self.scrubber.text(line) for line in seen.wire]
        seen.failures = [self.scrubber.text(line) for line in seen.failures]
        seen.spent = self.purse.spent() if self.purse is not None else {}
        return seen

    def _lane(self) -> Lane:
        observer = Observer(self._dialect()) if self._dialect is not None else None
        return Lane(self._record, observer, self.purse)


async def _main(job: Job) -> None:
    proxy = Proxy(job)
    port = await proxy.start()
    _, control = await listen(RealControl(proxy).serve)
    print(port, control, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    """Serve until stdin ends; the argument is a `Job`."""
    asyncio.run(_main(msgspec.json.decode(sys.argv[1], type=Job)))
