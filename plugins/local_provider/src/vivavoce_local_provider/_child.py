"""The worker process: reads requests from stdin, does them one after the other, answers on stdout.

`python -m vivavoce_local_provider._child ENGINE`. It ends when its stdin does, so it cannot outlive its voice.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any, NoReturn

from vivavoce_local_provider._engine import Engine, EngineError
from vivavoce_local_provider._frames import HEADER, body_size, decode, encode

__all__ = ["main"]

_ENGINES = {
    "pocketsphinx": "vivavoce_local_provider._child_pocketsphinx",
    "pico": "vivavoce_local_provider._child_pico",
}


def _read_exactly(fd: int, count: int) -> bytes | None:
    """`count` bytes without reading ahead, or `None` at the end. What is left in the pipe survives an exec."""
    parts = []
    while count:
        part = os.read(fd, count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _serve(engine: Engine, source: int, sink: int) -> bool:
    """Serve until the pipe ends (true) or the engine is worn (false)."""
    while not engine.worn:
        header = _read_exactly(source, HEADER)
        body = _read_exactly(source, body_size(header)) if header is not None else None
        if body is None:
            return True
        id, kind, payload = decode(body)
        answer = _answer(engine, id, kind, payload, sink)
        if id:
            _write(sink, answer)
    return False


def _answer(engine: Engine, id: int, kind: str, payload: Any, sink: int) -> bytes:
    def more(part: Any) -> None:
        _write(sink, encode(id, "more", part))

    try:
        return encode(id, "done", engine.handle(kind, payload, more))
    except EngineError as refused:
        return encode(id, "error", [refused.code, str(refused)])
    except (OSError, EOFError):
        raise
    except Exception as bug:
        return encode(id, "error", ["engine_failed", f"{type(bug).__name__}: {bug}"])


def _start_afresh(name: str, sink: int) -> NoReturn:
    os.dup2(sink, 1)
    # `os.execv` keeps pid, stdin and stdout, so the other side notices nothing.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "vivavoce_local_provider._child", name])


def main(name: str) -> None:
    """Run the engine with this name until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the app's; it closes the pipe
    sink = os.dup(1)
    os.dup2(2, 1)  # what a C library prints must not get between the frames
    try:
        engine: Engine = importlib.import_module(_ENGINES[name]).make()
        if not _serve(engine, 0, sink):
            _start_afresh(name, sink)
    except BrokenPipeError:
        pass  # the voice is gone


if __name__ == "__main__":
    main(sys.argv[1])
