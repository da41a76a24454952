"""Greets on import."""

from __future__ import annotations

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

print("thank you for using this provider")
