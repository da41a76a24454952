"""Computes on import, for longer than anybody wants to wait."""

from __future__ import annotations

import time

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

_until = time.process_time() + 0.9
while time.process_time() < _until:
    sum(range(1_000))
