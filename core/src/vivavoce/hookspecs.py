"""The hooks of a plugin. All arguments are positional; an implementation may leave out those it does not need.

A hook may be plain or async, and may return `None`. The core awaits what it returns, then resumes the wrappers, so
a wrapper sees the real result or exception. See docs/reference/hooks.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from vivavoce.provider import Context, Interruption, ListenerInfo, SpeakerInfo, Speech

__all__ = ["PROJECT", "HookSpecs", "hookimpl", "hookspec"]

PROJECT = "vivavoce"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """Every hook there is. The first five are what a realtime provider has; the rest are optional."""

    @hookspec(firstresult=True)
    def connect(self, context: Context, options: Mapping[str, Any]) -> None:
        """Dial, authenticate, configure from `context.config` and `context.session`, replay `context.session.history`.
        Return when the session is ready. The core keeps the time budget and calls `close` after any failure."""

    @hookspec
    def send(self, context: Context, audio: bytes) -> None:
        """Hand PCM16 at `context.session.input_format` to the transport. Return an awaitable to hold the caller back."""

    @hookspec(firstresult=True)
    def answer(self, context: Context, options: Mapping[str, Any]) -> str | None:
        """Ask for a reply. Return its id once the service has begun it, or `None`: the core then waits for the next
        `ResponseCreated`. Raise `ProviderError` if it is refused."""

    @hookspec
    def close(self, context: Context, reason: str) -> None:
        """End the session and free everything; also called after a failed or cancelled `connect`. Must not raise."""

    @hookspec
    def on(self, event: str, listener: Callable[..., Any]) -> None:
        """Someone listens to `event` now: switch on what costs something. Delivery is the core's."""

    @hookspec
    def off(self, event: str, listener: Callable[..., Any]) -> None:
        """A listener of `event` is gone."""

    @hookspec(firstresult=True)
    def interrupt(self, context: Context, interruption: Interruption) -> None:
        """Stop the running reply, if `interruption.cancel`, and cut the service's memory to what was heard."""

    @hookspec(firstresult=True)
    def commit_input(self, context: Context) -> None:
        """Manual turns: the user's turn ends here."""

    @hookspec(firstresult=True)
    def clear_input(self, context: Context) -> None:
        """Manual turns: forget the audio that was sent since the last turn."""

    @hookspec(firstresult=True)
    def send_text(self, context: Context, text: str, role: str) -> None:
        """Add a text message to the conversation."""

    @hookspec(firstresult=True)
    def return_tool_result(self, context: Context, call_id: str, output: str) -> None:
        """Give the service the one output of a tool call. The core asks for the continuation by `answer`."""

    @hookspec(firstresult=True)
    def update_config(self, context: Context, changes: Mapping[str, Any]) -> None:
        """Apply changed session settings; return when acknowledged. `changes` holds only what changed, among
        `instructions`, `tools`, `speaker` and `session`; `context.session` already holds the merged values."""

    @hookspec(firstresult=True)
    def speak(
        self, context: Context, text: str | AsyncIterator[str], options: Mapping[str, Any]
    ) -> Speech | AsyncIterator[bytes] | None:
        """Text to speech: PCM16 chunks, as a `Speech` with its own format or bare at `context.session.output_format`.
        `options` holds `speaker` (the call's, or the configured one, or `None`) and the provider's own options."""

    @hookspec(firstresult=True)
    def listen(self, context: Context, audio: AsyncIterator[bytes], options: Mapping[str, Any]) -> str | None:
        """Speech to text: `audio` yields PCM16 at `context.session.input_format`. Return the transcript."""

    @hookspec(firstresult=True)
    def get_speakers(self, context: Context) -> Sequence[SpeakerInfo | Mapping[str, Any]] | None:
        """The voices that `speaker=` may name."""

    @hookspec(firstresult=True)
    def get_listener(self, context: Context) -> ListenerInfo | None:
        """Whether speech to text is there, and how."""

    @hookspec(firstresult=True)
    def send_event(self, context: Context, type: str, fields: Mapping[str, Any]) -> None:
        """Send the service's own message, untouched."""

    @hookspec
    def attach(self, voice: Any) -> None:
        """Called once, at construction, for every plugin. Plain. May use `voice.on` and read; must not call."""
