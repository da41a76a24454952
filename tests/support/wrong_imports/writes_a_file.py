"""Writes a file on import."""

from __future__ import annotations

import tempfile

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

with tempfile.TemporaryFile("w") as file:
    file.write("here I am")
