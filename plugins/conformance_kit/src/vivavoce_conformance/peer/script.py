"""What the peer is told to do, and what it tells: values that go over the control channel as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Plan", "Reply", "Seen"]


class Reply(msgspec.Struct, omit_defaults=True):
    """One reply. Audio is a ramp that goes on from reply to reply; it is sent in pieces of `chunk_ms`.

    `hold`: stop before the end, until `release` or a cancellation. `hold_first`: stop after the first piece of audio.
    `late`: do not begin until `release`.
    `refuse`: refuse it with this code. `calls` are (name, arguments, call id).
    """

    text: str = "Good morning."
    audio_ms: int = 200
    chunk_ms: int = 20
    hold: bool = False
    late: bool = False
    hold_first: bool = False
    refuse: str = ""
    calls: list[tuple[str, str, str]] = []
    status: str = "completed"


class Plan(msgspec.Struct, omit_defaults=True):
    """How connections are met, and with what replies. Each entry of `accept` is for one connection, then `normal`:

    `normal`, `silent` (never answers the upgrade), `mute` (upgraded, then silent), `http:STATUS`, `drop` (reset at once),
    `half` (reset in the middle of the upgrade's answer), `configured:drop` (reset when it is configured), `configured:mute`
    (never acknowledges the configuration).

    Of a call also `nonsense` (the answer is no SDP), `dead` (no packet is answered), `shut` (the channel never opens).

    `lag`: seconds before each acknowledgement. `slow`: one byte at a time. `fragments`: a WebSocket message in three
    frames. `deaf`: never reads after the configuration.
    `secret`: what to look for in all that arrives.
    """

    accept: list[str] = []
    replies: list[Reply] = []
    lag: float = 0.0
    slow: bool = False
    fragments: bool = False
    deaf: bool = False
    secret: str = ""


class Seen(msgspec.Struct):
    """What the peer has recorded since the plan was set."""

    connections: int = 0
    open: int = 0
    acknowledged: int = 0
    replies: int = 0
    audio_bytes: int = 0
    secret: bool = False
    requests: list[str] = []
    asked: list[dict[str, Any]] = []
    wire: list[str] = []
    failures: list[str] = []
    spent: dict[str, float] = {}
    """Of a real service: what it has cost so far, in all checks."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What was asked of one kind, in order."""
        return [one for one in self.asked if one["kind"] == kind]

    @property
    def wrong(self) -> list[str]:
        """What the client asked that its protocol forbids."""
        return [str(one.get("reason")) for one in self.of("wrong")]
