"""The conformance kit of vivavoce: is this provider one?

    vivavoce conformance openai-realtime          on the command line
    pytest --vivavoce-provider openai-realtime    as tests
    assert_conformant("openai-realtime")          as one line of a plugin's own suite

A provider with a protocol of its own brings a `Profile` with a `PeerDialect`: the service's side of the wire.
See docs/how-to/conformance.md.
"""

from __future__ import annotations

from vivavoce_conformance.helper import assert_conformant
from vivavoce_conformance.judging import judge
from vivavoce_conformance.peer.dialect import Asked, Frame, PeerDialect
from vivavoce_conformance.profile import Profile
from vivavoce_conformance.registry import CHECKS, SPEC_LEVEL, Check
from vivavoce_conformance.verdict import Report, Result, Waiver

__all__ = [
    "CHECKS",
    "SPEC_LEVEL",
    "Asked",
    "Check",
    "Frame",
    "PeerDialect",
    "Profile",
    "Report",
    "Result",
    "Waiver",
    "assert_conformant",
    "judge",
]
