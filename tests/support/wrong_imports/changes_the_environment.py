"""Changes the environment on import."""

from __future__ import annotations

import os

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

os.environ["WRONG_IMPORT"] = "1"
