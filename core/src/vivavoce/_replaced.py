"""A file that a recording replaces: gone once there is a session, back where it was if there is none."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Replaced"]


class Replaced:
    """Only a file of its own is moved aside; what else is there (a device, a link) is written to as it is, and never
    removed."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._aside: Path | None = None
        self._was_there = False

    def move(self, path: Path) -> None:
        """Make way at `path`."""
        self._path, self._aside = path, None
        self._was_there = os.path.lexists(path)
        if path.is_file() and not path.is_symlink():
            with suppress(OSError):  # no room for it: then it is overwritten
                self._aside = path.replace(path.with_name(f".{path.name}.before"))

    def put_back(self) -> None:
        """Everything is as it was before `move`."""
        path, self._path = self._path, None
        if path is not None:
            with suppress(OSError):
                if self._aside is not None:
                    self._aside.replace(path)
                elif not self._was_there:
                    path.unlink(missing_ok=True)

    def forget(self) -> None:
        """What was there is not needed any more."""
        path, self._path = self._path, None
        if path is not None and self._aside is not None:
            self._aside.unlink(missing_ok=True)
