"""The service's side of the protocol, for the conformance kit: what it says and understands. Never used by apps."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Sequence
from typing import Any

from vivavoce_conformance import Asked, Frame, PeerDialect, Profile

__all__ = ["PROFILE", "ShouterPeer"]

PROFILE = Profile(dialect="vivavoce_shouter.conformance:ShouterPeer", url="127.0.0.1:{port}")


def _line(type: str, **fields: Any) -> bytes:
    return json.dumps({"type": type, **fields}).encode() + b"\n"


# region: receive
class ShouterPeer(PeerDialect):
    """Lines of JSON over TCP; one object a connection."""

    transport = "tcp"
    rate = 16_000
    numbers = itertools.count(1)

    def __init__(self) -> None:
        self._rest = b""
        self._reply = ""
        self._session = f"session_{next(self.numbers)}"

    def receive(self, frame: Frame) -> tuple[Sequence[Asked], Sequence[Frame]]:
        self._rest += frame.encode() if isinstance(frame, str) else frame
        *lines, self._rest = self._rest.split(b"\n")
        asked = [self._read(json.loads(line)) for line in lines]
        return asked, [_line("welcome", session=self._session) for one in asked if one.kind == "configure"]

    def _read(self, message: dict[str, Any]) -> Asked:
        kind = message.pop("type")
        if kind == "audio":
            return Asked("audio", audio=base64.b64decode(message["data"]))
        if kind == "shout" and self._reply:
            return Asked("wrong", {"reason": "it is shouting"})
        names: dict[str, Any] = {"hello": "configure", "shout": "respond", "hush": "cancel"}
        return Asked(names.get(kind, kind), message)

    # endregion
    # region: say
    def begin(self, token: Any) -> Sequence[Frame]:
        self._reply = f"reply_{next(self.numbers)}"
        return [_line("begin", id=self._reply)]

    def text(self, delta: str) -> Sequence[Frame]:
        return [_line("letter", id=self._reply, text=delta)]

    def audio(self, pcm: bytes) -> Sequence[Frame]:
        return [_line("note", id=self._reply, data=base64.b64encode(pcm).decode())]

    def finish(self, status: str) -> Sequence[Frame]:
        reply, self._reply = self._reply, ""
        return [_line("done", id=reply, status=status)]

    # endregion

    def error(self, code: str, message: str) -> Sequence[Frame]:
        return [_line("error", code=code, message=message)]

    def refuse(self, token: Any, code: str, message: str) -> Sequence[Frame]:
        return [_line("error", code=code, message=message, refuses=True)]

    def unknown(self) -> Sequence[Frame]:
        return [_line("hologram", x=1)]

    def malformed(self) -> Sequence[Frame]:
        return [b'{"type": "done", \n', b"[]\n", b'{"type": "letter"}\n', b"\xff\xfe\n"]
