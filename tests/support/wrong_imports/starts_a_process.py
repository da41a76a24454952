"""Starts a process on import."""

from __future__ import annotations

import subprocess

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

subprocess.run(["true"], check=True)
