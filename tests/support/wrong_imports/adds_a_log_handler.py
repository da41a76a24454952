"""Sets logging up on import."""

from __future__ import annotations

import logging

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

logging.basicConfig(level=logging.DEBUG)
