"""A cassette as a service: says what the recorded service said, when the provider has asked what it asked then.

What is compared is how much was asked of each kind, not the bytes: a provider cuts its audio as it likes, and numbers
its requests anew. Identifiers that it numbered otherwise are put into what the service answers.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vivavoce_conformance.peer.connection import Gone, Stream, WebSocket
from vivavoce_conformance.peer.dialect import Frame, PeerDialect
from vivavoce_conformance.peer.lane import Lane, Record
from vivavoce_conformance.peer.observer import Observer
from vivavoce_conformance.peer.process import RealControl, listen
from vivavoce_conformance.peer.script import Seen
from vivavoce_conformance.profile import load_object
from vivavoce_conformance.scrub import Scrubber
from vivavoce_conformance.tape import Cassette, Entry, Recorder, read_cassette

__all__ = ["Player", "Shelf", "main"]

PATIENCE = 5.0
"""Seconds to wait for what the provider asked in the recording: less than any check waits for the service."""
LONGEST_PAUSE = 0.25
"""Pauses of the service are kept up to this, so that order and overlap stay, and a replay is quick."""

Measure = Callable[[Frame], Counter[str]]


def _measuring(dialect: type[PeerDialect] | None) -> Measure:
    """How much of each kind the frames of one connection ask: by the dialect, else by counting."""
    if dialect is None:
        return lambda frame: Counter(messages=1) if isinstance(frame, str) else Counter(bytes=len(frame))
    observer = Observer(dialect())

    def measured(frame: Frame) -> Counter[str]:
        found: Counter[str] = Counter()
        for asked in observer.provider(frame):
            found[asked.kind] += len(asked.audio) or 1
        return found

    return measured


class _Names:
    """Identifiers that the provider made in the recording, and those that it makes now."""

    def __init__(self, recorded: Sequence[Frame]) -> None:
        self._recorded: dict[str, list[Any]] = {}
        for frame in recorded:
            value = _parsed(frame)
            if value is not None:
                self._recorded.setdefault(str(value.get("type")), []).append(value)
        self._now: dict[str, str] = {}

    def learn(self, frame: Frame) -> None:
        """A message came: the next of its type in the recording is the same one."""
        value = _parsed(frame)
        waiting = self._recorded.get(str(value.get("type"))) if value is not None else None
        if waiting:
            self._pair(waiting.pop(0), value, "")

    def put(self, frame: Frame) -> Frame:
        """What the service says, with the identifiers of now."""
        if isinstance(frame, str):
            for old, new in self._now.items():
                frame = frame.replace(f'"{old}"', f'"{new}"')
        return frame

    def _pair(self, old: Any, new: Any, name: str) -> None:
        if isinstance(old, dict) and isinstance(new, dict):
            for key in old.keys() & new.keys():
                self._pair(old[key], new[key], key)
        elif isinstance(old, list) and isinstance(new, list):
            for one, other in zip(old, new, strict=False):
                self._pair(one, other, name)
        elif isinstance(old, str) and isinstance(new, str) and old != new and name.endswith("id"):
            self._now[old] = new


def _parsed(frame: Frame) -> dict[str, Any] | None:
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class Player:
    """`find` gives the cassette of a check. Each connection is the next one of the recording."""

    def __init__(
        self,
        find: Callable[[str], Cassette | None],
        dialect: type[PeerDialect] | None,
        *,
        again: bool = False,
    ) -> None:
        self._find = find
        self._dialect = dialect
        self._again = again
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.spoken = bytearray()
        self.told: list[str] = []
        """Why connections could not go on, of all cassettes."""
        self._record = Record(Recorder(Scrubber()))
        self.turn_to("")

    def turn_to(self, check: str) -> None:
        """End what is left of the check before, and put in another cassette."""
        for task, writer in tuple(self._tasks.items()):
            task.cancel()
            writer.transport.abort()
        self.told += self._record.seen.failures
        self._record = Record(Recorder(Scrubber()))
        cassette = self._find(check)
        self._transport = cassette.head.transport if cassette is not None else "websocket"
        self._connections = cassette.connections if cassette is not None else []
        self._next = 0

    def look_for(self, secret: str) -> None:
        """Tell whether this is in what the provider says."""
        self._record.secret = secret

    def finish(self) -> None:
        """Nothing is left to do."""

    @property
    def audio(self) -> bytearray:
        """What the provider sent."""
        return self._record.audio

    def report(self) -> Seen:
        """What was seen of this check."""
        return self._record.report()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, as it was recorded."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        lane = Lane(self._record, Observer(self._dialect()) if self._dialect is not None else None, None)
        try:
            await self._play(lane, reader, writer)
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            lane.gone()
            del self._tasks[task]
            writer.transport.abort()

    async def _play(self, lane: Lane, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        entries = self._take()
        if entries is None:
            lane.failed(f"the cassette has {len(self._connections)} connection(s), and this is one more")
            return
        answer = next((e.open for e in entries if e.open is not None and e.side == "service"), None)
        stream = Stream(reader, writer, slow=False)
        if self._transport == "websocket":
            stream = socket = WebSocket(reader, writer, slow=False, fragments=False)
            status = (answer or {}).get("status", 101)
            how = "normal" if status == 101 else f"http:{status}"
            path, _, headers = (await socket.upgrade(how)).partition("\n")
            lane.opened(path, (tuple(line.split(": ", 1)) for line in headers.splitlines() if line))  # type: ignore[misc]
        await _Showing(lane, stream, entries, self._dialect).run()

    def _take(self) -> list[Entry] | None:
        if self._next >= len(self._connections):
            if not self._again or not self._connections:
                return None
            self._next = 0
        self._next += 1
        return self._connections[self._next - 1]


class _Showing:
    """One connection of a cassette, being shown."""

    def __init__(self, lane: Lane, stream: Stream, entries: list[Entry], dialect: Any) -> None:
        self._lane = lane
        self._stream = stream
        self._entries = [entry for entry in entries if entry.open is None]
        said = [e.frame for e in self._entries if e.side == "provider" and e.frame is not None]
        self._names = _Names(said)
        # The recording and the provider of now are two conversations: each is read from its own beginning.
        self._measure, self._measure_recorded = _measuring(dialect), _measuring(dialect)
        self._got: Counter[str] = Counter()
        self._more = asyncio.Event()

    async def run(self) -> None:
        """Say everything, then wait for the provider to go."""
        hearing = asyncio.create_task(self._hear())
        saying = asyncio.create_task(self._say())
        try:
            await asyncio.wait({hearing, saying}, return_when=asyncio.FIRST_COMPLETED)
            if saying.done() and saying.result():
                await hearing
        finally:
            for task in (hearing, saying):
                task.cancel()
            await asyncio.gather(hearing, saying, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            frame = await self._stream.receive()
            self._lane.provider(frame)
            self._names.learn(frame)
            self._got += self._measure(frame)
            self._more.set()

    async def _say(self) -> bool:
        """Whether the connection stays open afterwards."""
        wanted: Counter[str] = Counter()
        before = self._entries[0].at if self._entries else 0.0
        for entry in self._entries:
            if entry.side == "provider":
                if entry.frame is not None:
                    wanted += self._measure_recorded(entry.frame)
                before = entry.at
                continue
            if not await self._reaches(wanted):
                return False
            await asyncio.sleep(min(entry.at - before, LONGEST_PAUSE))
            before = entry.at
            if entry.frame is None:
                await self._leave(entry)
                return False
            frame = self._names.put(entry.frame)
            self._lane.service(frame)
            await self._stream.send(frame)
        return True

    async def _reaches(self, wanted: Counter[str]) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                while not wanted <= self._got:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            lacks = ", ".join(f"{count} × {kind}" for kind, count in (wanted - self._got).items())
            self._lane.failed(f"in the recording the provider asked more before the service went on: {lacks}")
            return False
        return True

    async def _leave(self, entry: Entry) -> None:
        how = entry.close or {}
        if how.get("drop"):
            await self._stream.fault("drop", 0)
        else:
            await self._stream.fault("close", int(how.get("code", 1000)))


class Shelf:
    """A folder of cassettes, `VV-CON-055.jsonl` for a check."""

    def __init__(self, folder: Path) -> None:
        self._paths = {path.stem: path for path in sorted(folder.glob("VV-CON-*.jsonl"))}

    @property
    def checks(self) -> list[str]:
        """The ids that there are cassettes of, in order."""
        return sorted(self._paths)

    def __call__(self, check: str) -> Cassette | None:
        """The cassette of a check; that of the one before it, where several checks judge the same conversation."""
        ids = self.checks
        place = bisect.bisect_right(ids, check)
        return read_cassette(self._paths[ids[place - 1]]) if check and place else None


async def _main(folder: Path, dialect: str) -> None:
    player = Player(Shelf(folder), load_object(dialect))
    _, port = await listen(player.serve)
    _, control = await listen(RealControl(player).serve)
    print(port, control, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    """Serve until stdin ends; the arguments are a folder and a dialect."""
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))
