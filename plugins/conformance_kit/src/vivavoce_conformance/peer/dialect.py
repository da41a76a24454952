"""A dialect: how a service's messages look on the wire. Everything else of the peer is the same for all protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec
from vivavoce import AudioFormat
from vivavoce.testing import ramp

__all__ = ["Asked", "Frame", "PeerDialect"]

Frame = str | bytes
"""A WebSocket message (`str` is text), or bytes of a TCP stream."""

Kind = Literal[
    "configure",
    "audio",
    "text",
    "respond",
    "cancel",
    "truncate",
    "delete",
    "commit",
    "clear",
    "tool_result",
    "wrong",
    "begun",
    "ready",
    "refused",
]


class Asked(msgspec.Struct, frozen=True):
    """What the client asked. `data` is what the checks look at:

    configure: `instructions`, `tools` (names) · audio: none, the bytes are `audio` · text: `role`, `text` ·
    cancel: `response_id` · truncate: `item_id`, `ms` · tool_result: `call_id`, `output` · wrong: `reason`, for what the
    protocol forbids.
    """

    kind: Kind
    data: Mapping[str, Any] = msgspec.field(default_factory=dict)
    audio: bytes = b""
    token: Any = None
    """Handed back to `begin`."""


class PeerDialect:
    """One connection's worth of a service. Every function returns the frames to send.

    `transport` is `websocket`, `tcp` or `webrtc`; `rate` is that of the audio sent, in Hz; `exact` says whether audio arrives
    bit by bit (else checks judge by ear). The functions that a protocol has no word
    for may stay as they are; the checks that need them are those of capabilities which the provider then cannot have.
    """

    transport: ClassVar[Literal["websocket", "tcp", "webrtc"]] = "websocket"
    exact: ClassVar[bool] = True
    rate: int = 24_000

    def request(self, path: str) -> None:
        """Over WebSocket: the path that was asked for, with its query."""

    def open(self) -> Sequence[Frame]:
        """The connection is there."""
        return ()

    def receive(self, frame: Frame) -> tuple[Sequence[Asked], Sequence[Frame]]:
        """A frame came: what is asked in it, and the immediate answers (acknowledgements)."""
        raise NotImplementedError

    def sound(self, milliseconds: float, at: int) -> bytes:
        """What a reply sounds like from its sample `at` on: PCM16 at `rate`."""
        return ramp(milliseconds, AudioFormat(self.rate), at)

    def begin(self, token: Any) -> Sequence[Frame]:
        """A reply begins; `token` is that of the `respond` it answers."""
        return ()

    def audio(self, pcm: bytes) -> Sequence[Frame]:
        """Audio of the reply, PCM16 at `rate`."""
        return ()

    def text(self, delta: str) -> Sequence[Frame]:
        """Text of the reply."""
        return ()

    def tool_call(self, name: str, arguments: str, call_id: str) -> Sequence[Frame]:
        """A tool call of the reply; `arguments` is JSON text."""
        return ()

    def finish(self, status: str) -> Sequence[Frame]:
        """The reply ends: `completed`, `cancelled`, `failed` or `incomplete`."""
        return ()

    def error(self, code: str, message: str) -> Sequence[Frame]:
        """An error that does not end the session."""
        return ()

    def refuse(self, token: Any, code: str, message: str) -> Sequence[Frame]:
        """The asked reply is refused."""
        return self.error(code, message)

    def speech(self, text: str | None, at_ms: int, ends_ms: int) -> Sequence[Frame]:
        """The user spoke from `at_ms` to `ends_ms`, and this is the transcript."""
        return ()

    def speech_started(self, at_ms: int) -> Sequence[Frame]:
        """The user begins to speak."""
        return ()

    def unknown(self) -> Sequence[Frame]:
        """A message that a later version of the protocol may bring."""
        return ()

    def observe(self, frame: Frame) -> Sequence[Asked]:
        """For `--live`: what a real service says in a frame, as `begun` (a reply begins), `ready` (a configuration is
        acknowledged), `refused` (with `reason`). Over TCP a frame may be half a message.
        """
        return ()

    def malformed(self) -> Sequence[Frame]:
        """A message that breaks the protocol's own form, and nothing below it."""
        return ()
