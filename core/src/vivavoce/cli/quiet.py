"""Keeps what C libraries print out of the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["only_python_on_stderr"]


@contextmanager
def only_python_on_stderr() -> Iterator[None]:
    """PortAudio prints a line to descriptor 2 for each thing that fails, such as every look for a device that was
    unplugged, and cannot be told not to. What Python writes to `sys.stderr` goes where it went."""
    before = sys.stderr
    try:
        is_descriptor = before.fileno() == 2
    except (OSError, ValueError, AttributeError):
        is_descriptor = False
    if not is_descriptor:
        yield
        return
    before.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(os.dup(kept), "w", buffering=1, encoding=before.encoding, errors=before.errors) as stderr:
        os.dup2(nothing, 2)
        if not hasattr(
            before, "rich_proxied_file"
        ):  # a live display takes what is written there into its lines
            sys.stderr = stderr
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)
