"""Starts a thread on import."""

from __future__ import annotations

import threading

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()
