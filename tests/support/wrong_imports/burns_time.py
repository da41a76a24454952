"""Computes a table on import."""

from __future__ import annotations

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

TABLE = [sum(range(n % 97)) for n in range(1_200_000)]
