"""Peers that misbehave, over real sockets, and the guard that nothing is left behind. For the tests of any transport."""

from __future__ import annotations

from faults.leaks import leak_guard
from faults.proxies import HttpProxy, SocksProxy
from faults.recorder import Recorder
from faults.scripts import after_accept, deaf, echo
from faults.server import FaultServer, Peer, PeerGone, refusing_port

__all__ = [
    "FaultServer",
    "HttpProxy",
    "Peer",
    "PeerGone",
    "Recorder",
    "SocksProxy",
    "after_accept",
    "deaf",
    "echo",
    "leak_guard",
    "refusing_port",
]
