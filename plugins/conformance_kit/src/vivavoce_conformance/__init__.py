"""The conformance kit of vivavoce: is this provider one?

    vivavoce conformance openai-realtime          on the command line
    pytest --vivavoce-provider openai-realtime    as tests
    assert_conformant("openai-realtime")          as one line of a plugin's own suite

A provider with a protocol of its own brings a `Profile` with a `PeerDialect`: the service's side of the wire.
See docs/how-to/conformance.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vivavoce_conformance.checks import CHECKS
    from vivavoce_conformance.helper import assert_conformant
    from vivavoce_conformance.judging import judge
    from vivavoce_conformance.peer.dialect import Asked, Frame, PeerDialect
    from vivavoce_conformance.profile import Profile
    from vivavoce_conformance.registry import SPEC_LEVEL, Check
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

_WHERE = {
    "assert_conformant": "helper",
    "judge": "judging",
    "Asked": "peer.dialect",
    "Frame": "peer.dialect",
    "PeerDialect": "peer.dialect",
    "Profile": "profile",
    "CHECKS": "checks",
    "Check": "registry",
    "SPEC_LEVEL": "registry",
    "Report": "verdict",
    "Result": "verdict",
    "Waiver": "verdict",
}


def __getattr__(name: str) -> Any:
    """Loaded on first use: pytest imports this package in every run, for its plugin alone."""
    import importlib

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
