"""The session as the app wants it, apart from the one that is open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from vivavoce.provider import Session
from vivavoce.tools import Tool, as_tools

__all__ = ["Wanted"]


class Wanted(msgspec.Struct):
    """The session as the app wants it: what every new connection is configured with."""

    config: Any
    instructions: str | None
    speaker: str | None
    tools: tuple[Tool, ...]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, config: Any) -> Wanted:
        """What a provider's config object asks for; it need not know every common key."""
        tools = getattr(config, "tools", None)
        return cls(
            config=config,
            instructions=getattr(config, "instructions", None),
            speaker=getattr(config, "speaker", None),
            tools=as_tools(tools) if tools else (),
            settings=dict(getattr(config, "session", None) or {}),
        )

    def apply(self, session: Session) -> None:
        """Show a provider these values in the session it has."""
        session.instructions, session.speaker = self.instructions, self.speaker
        session.tools, session.settings = self.tools, self.settings
