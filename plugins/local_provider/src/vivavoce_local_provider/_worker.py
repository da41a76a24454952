"""An engine in a process of its own: starting it, asking it, noticing its end, ending it.

A `Worker` owns one process and one task, which reads its answers. Every wait has a deadline. `close` leaves neither
behind; so does the end of the app, because the process ends with its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from vivavoce.errors import ConfigError, ProviderError, ProviderLoadError, VoiceError

from vivavoce_local_provider._frames import HEADER, body_size, decode, encode

__all__ = ["Worker", "WorkerDiedError"]

ANSWER_DEADLINE = 30.0
"""Seconds for each part of an answer. Loading a model on a busy machine takes the longest: about a second."""
FEED_DEADLINE = 30.0
"""Seconds that audio may wait for a worker that is behind."""
END_DEADLINE = 2.0
"""Seconds a worker has to end by itself, before it is killed."""


class WorkerDiedError(ProviderError):
    """The process of an engine ended by itself."""

    default_code = "engine_died"
    default_retryable = True


class Worker:
    """One process that runs `engine`. Use it from one event loop."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._start: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Queue[tuple[str, Any]]] = {}
        self._ids = itertools.count(1)

    @property
    def alive(self) -> bool:
        """Whether the process runs, as far as is known."""
        return self._reader is not None and not self._reader.done()

    @property
    def pid(self) -> int | None:
        """The process id, once started."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the process. It loads nothing before the first request. Cancelled, it starts all the same, since asyncio
        loses the pipes of a process in the middle: whoever called this closes the worker then."""
        if not sys.executable:
            raise ProviderLoadError(
                f"{self.engine} runs in a process of its own, and this Python does not know its executable",
                provider=self.engine,
            )
        path = os.pathsep.join(entry for entry in sys.path if entry)
        command = asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "vivavoce_local_provider._child", self.engine),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C in a terminal goes to the app alone
        )
        self._start = asyncio.get_running_loop().create_task(command, name=f"start of {self.engine}")
        process = await asyncio.shield(self._start)
        if self._start is None:  # closed meanwhile, and ended there
            raise self._died()
        self._process = process
        self._reader = asyncio.get_running_loop().create_task(self._read(), name=f"{self.engine} worker")

    async def call(self, kind: str, payload: Any) -> Any:
        """Ask, and wait for the one answer. Cancelling it leaves the worker usable: the late answer is dropped."""
        async for answer in self.stream(kind, payload, parts=False):
            return answer
        return None

    async def stream(self, kind: str, payload: Any, *, parts: bool = True) -> AsyncGenerator[Any]:
        """Ask, and yield the parts of the answer as they come (without `parts`: the last one alone)."""
        id = next(self._ids)
        answers: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()  # bounded by what one request can answer
        self._answers[id] = answers
        try:
            await self._write(encode(id, kind, payload))
            while True:
                async with self._deadline(ANSWER_DEADLINE):
                    outcome, value = await answers.get()
                if outcome == "error":
                    raise self._error(*value)
                if (outcome == "more") == parts:
                    yield value
                if outcome == "done":
                    return
        finally:
            del self._answers[id]

    async def post(self, kind: str, payload: Any = None) -> None:
        """Tell the worker something that has no answer. Waits while the worker is behind."""
        await self._write(encode(0, kind, payload))

    async def close(self) -> None:
        """End the process, kindly at first. Safe to call twice, and finished even when cancelled."""
        start = self._start
        if start is None:
            return
        self._start = self._process = None
        ending = asyncio.get_running_loop().create_task(self._end(start))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait({ending}, timeout=END_DEADLINE * 2)
            raise

    async def _end(self, start: asyncio.Task[asyncio.subprocess.Process]) -> None:
        await asyncio.wait({start})
        if start.cancelled() or start.exception() is not None:
            return  # there is no process
        process = start.result()
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_DEADLINE):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        with contextlib.suppress(OSError):  # what was still to be written has nowhere to go
            await process.stdin.wait_closed()
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=END_DEADLINE)
            self._reader.cancel()

    async def _write(self, data: bytes) -> None:
        if self._process is None or self._process.stdin is None or not self.alive:
            raise self._died()
        try:
            self._process.stdin.write(data)
            async with self._deadline(FEED_DEADLINE):
                await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise self._died() from gone

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        source = self._process.stdout
        try:
            while True:
                body = await source.readexactly(body_size(await source.readexactly(HEADER)))
                id, kind, payload = decode(body)
                if id in self._answers:
                    self._answers[id].put_nowait((kind, payload))
        except (asyncio.IncompleteReadError, OSError, ValueError):
            pass
        finally:
            for waiting in self._answers.values():
                waiting.put_nowait(("error", ("engine_died", "")))

    @contextlib.asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            raise WorkerDiedError(
                f"{self.engine} did not answer within {seconds:g} s, so its process was ended",
                provider=self.engine,
            ) from None

    def _died(self) -> WorkerDiedError:
        return WorkerDiedError(f"the process of {self.engine} has ended; call again", provider=self.engine)

    def _error(self, code: str, message: str) -> VoiceError:
        if code == "engine_died":
            return self._died()
        if code == "engine_missing":
            extra = f'pip install "vivavoce-local-provider[{self.engine}]"'
            return ProviderLoadError(
                f"{self.engine} is not installed ({message}): {extra}", code=code, provider=self.engine
            )
        if code in ("grammar", "phrases", "pronunciations"):
            return ConfigError(f"{code}: {message}", option=code, provider=self.engine)
        return ProviderError(f"{self.engine}: {message}", code=code, provider=self.engine)
