"""Imports a network library, which the first session would do as well."""

from __future__ import annotations

import websockets.client
from wrong_base import Quiet as Provider

__all__ = ["Provider"]

CLIENT = websockets.client
