"""A `Link` to a call that is going on (`call_id`): beside its user, by WebSocket, without audio.

The call has its user, its settings, its conversation and perhaps tools that its user's side runs. So what joins it changes nothing
unasked: it sends the settings that it was given and no defaults, replays nothing, and answers for its own tools alone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from vivavoce.items import Interruption

from vivavoce_openai_realtime.link import Link
from vivavoce_openai_realtime.protocol import events

__all__ = ["JoinedLink"]

logger = logging.getLogger("vivavoce.openai_realtime")


class JoinedLink(Link):
    """The receiver of a sideband."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._warned = False

    def append(self, audio: bytes) -> Awaitable[None] | None:
        """Audio is the call's own: what is sent here goes nowhere, and that is said once."""
        if not self._warned:
            self._warned = True
            logger.warning("a call that was joined by call_id takes no audio: what is sent is dropped")
        return None

    def cut(self, interruption: Interruption) -> None:
        """Stop the reply and what the service plays. It cuts its memory itself: what was heard is not known here."""
        if interruption.cancel and self.protocol.active_response is not None:
            self.protocol.send_cancel(interruption.response_id)
        self.protocol.send_event("output_audio_buffer.clear")

    def _session_ready(self, event: events.SessionReady) -> None:
        self._read_session(event.config)  # nothing may be asked of it, so that no update tells
        super()._session_ready(event)

    def _tool_call(self, event: events.ToolCallReady) -> None:
        if any(tool.name == event.name for tool in self.context.session.tools):
            super()._tool_call(event)
