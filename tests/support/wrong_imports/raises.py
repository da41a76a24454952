"""Cannot be imported."""

from __future__ import annotations

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

raise RuntimeError("no such luck")
