"""Single keys from the terminal, without waiting for Enter."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["LineEditor", "keys"]

_LOOK_S: Final = 0.05


@contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[bool]:
    """Call `pressed(character)` for each key, in the running loop; false where stdin is no terminal that can do it."""
    try:
        import termios
        import tty
    except ImportError:
        with _windows_keys(pressed) as there:
            yield there
        return
    if not sys.stdin.isatty():
        yield False
        return
    terminal = sys.stdin.fileno()
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(terminal)

    def read() -> None:
        for character in os.read(terminal, 1024).decode(errors="ignore"):
            pressed(character)

    tty.setcbreak(terminal)  # Ctrl-C stays a signal
    loop.add_reader(terminal, read)
    try:
        yield True
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _windows_keys(pressed: Callable[[str], None]) -> Iterator[bool]:
    """A console of Windows cannot be waited for by the loop: it is looked at 20 times a second."""
    try:
        msvcrt: Any = importlib.import_module("msvcrt")
    except ImportError:
        yield False
        return
    if not sys.stdin.isatty():
        yield False
        return
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        while msvcrt.kbhit():
            character = msvcrt.getwch()
            if character in "\x00\xe0":  # a function key: its second half follows
                msvcrt.getwch()
            else:
                pressed(character)
        timer = loop.call_later(_LOOK_S, look)

    look()
    try:
        yield True
    finally:
        if timer is not None:
            timer.cancel()


class LineEditor:
    """A line that is being typed; `None` while nobody types."""

    def __init__(self) -> None:
        self.text: str | None = None

    def press(self, character: str) -> str | None:
        """Take a key; the finished line, if it was Enter."""
        text = self.text or ""
        if character in "\r\n":
            self.text = None
            return text.strip() or None
        if character == "\x1b":  # Esc
            self.text = None
        elif character in "\x7f\b":
            self.text = text[:-1]
        elif character.isprintable():
            self.text = text + character
        return None
