"""The last resort of every vivavoce voice: each call logs one visible WARNING and returns at once.

It is also the smallest plugin there can be. The core makes the empty values, and raises in strict mode before a hook
of this plugin is called.
"""

from __future__ import annotations

import logging
from typing import Any

import pluggy

__all__ = ["NullProvider"]

hookimpl = pluggy.HookimplMarker("vivavoce")
logger = logging.getLogger("vivavoce")


class Config:
    """No key means anything here, so the core names each common one that is given."""


class NullProvider:
    """Does nothing, and says so: once per voice and method as a WARNING, after that at DEBUG."""

    api = 1
    name = "null"
    capabilities: frozenset[str] = frozenset()
    config_class = Config

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def _say(self, context: Any, method: str) -> None:
        level = logging.DEBUG if method in self._warned else logging.WARNING
        self._warned.add(method)
        provider = context.session.provider
        logger.log(
            level,
            "provider %r cannot %s(): nothing was done. `vivavoce providers` lists what each installed provider can do.",
            provider,
            method,
        )

    @hookimpl
    def connect(self, context: Any) -> None:
        self._say(context, "connect")

    @hookimpl
    def send(self, context: Any) -> None:
        self._say(context, "send")

    @hookimpl
    def answer(self, context: Any) -> None:
        self._say(context, "answer")

    @hookimpl
    def interrupt(self, context: Any) -> None:
        self._say(context, "interrupt")

    @hookimpl
    def commit_input(self, context: Any) -> None:
        self._say(context, "commit_input")

    @hookimpl
    def clear_input(self, context: Any) -> None:
        self._say(context, "clear_input")

    @hookimpl
    def send_text(self, context: Any) -> None:
        self._say(context, "send_text")

    @hookimpl
    def update_config(self, context: Any, changes: Any) -> None:
        # The app's own name for the call: tools and instructions have methods of their own.
        self._say(
            context,
            {("tools",): "add_tools", ("instructions",): "add_instructions"}.get(
                tuple(changes), "update_config"
            ),
        )

    @hookimpl
    def speak(self, context: Any) -> None:
        self._say(context, "speak")

    @hookimpl
    def listen(self, context: Any) -> None:
        self._say(context, "listen")

    @hookimpl
    def get_speakers(self, context: Any) -> None:
        self._say(context, "get_speakers")

    @hookimpl
    def get_listener(self, context: Any) -> None:
        self._say(context, "get_listener")

    @hookimpl
    def send_event(self, context: Any) -> None:
        self._say(context, "send_event")
