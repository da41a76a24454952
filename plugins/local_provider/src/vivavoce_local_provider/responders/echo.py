"""The responder `echo`: says what it heard. For trying out ears and voice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from vivavoce import Tool

from vivavoce_local_provider.conversation import Conversation, ToolCallRequest

__all__ = ["echo"]


async def echo(conversation: Conversation, tools: Sequence[Tool]) -> AsyncIterator[str | ToolCallRequest]:
    """Repeat the user's words."""
    if conversation.said:
        yield conversation.said
