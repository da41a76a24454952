"""Ends the process on import."""

from __future__ import annotations

import sys

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

sys.exit(0)
