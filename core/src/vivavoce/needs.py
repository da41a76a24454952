"""What each method of a voice needs of its provider: the warning rule, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

__all__ = ["HOOK_OF", "supported"]

# What a method needs of its provider: one of these capabilities, and the hook.
_NEEDS: dict[str, frozenset[str]] = {
    "connect": frozenset({"realtime"}),
    "send": frozenset({"realtime"}),
    "answer": frozenset({"turns", "realtime"}),
    "send_event": frozenset({"realtime"}),
    "update_config": frozenset({"realtime"}),
    "send_text": frozenset({"text"}),
    "interrupt": frozenset({"interrupt"}),
    "commit_input": frozenset({"turns"}),
    "clear_input": frozenset({"turns"}),
    "add_tools": frozenset({"tools"}),
    "return_tool_result": frozenset({"tools"}),
    "add_instructions": frozenset({"realtime"}),
    "speak": frozenset({"speak"}),
    "get_speakers": frozenset({"speak"}),
    "listen": frozenset({"listen"}),
    "get_listener": frozenset({"listen"}),
}
HOOK_OF = {"add_tools": "update_config", "add_instructions": "update_config"}
# The core does its own part of these, whatever hook there is.
_HOOKLESS = frozenset({"interrupt", "get_listener", "get_speakers"})


@lru_cache(maxsize=256)
def supported(capabilities: frozenset[str], hooks: frozenset[str]) -> Mapping[str, bool]:
    """Method -> whether a provider with these capabilities can do it, given the hooks that somebody implements."""
    return MappingProxyType(
        {
            method: bool(needs & capabilities)
            and (method in _HOOKLESS or HOOK_OF.get(method, method) in hooks)
            for method, needs in _NEEDS.items()
        }
    )
