"""Looks a host up on import."""

from __future__ import annotations

import socket

from wrong_base import Quiet as Provider

__all__ = ["Provider"]

socket.getaddrinfo("127.0.0.1", 9)
