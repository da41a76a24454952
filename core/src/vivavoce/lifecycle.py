"""The states of a voice, as a table. A transition that is not in the table is a bug, and raises.

idle ----------> connecting ----> open <----> reconnecting
  ^                |   |           |               |
  +---- failed ----+   +-- close --+--> closed <---+       closed -> connecting: a voice works again
"""

from __future__ import annotations

from typing import Literal

__all__ = ["State", "advance"]

State = Literal["idle", "connecting", "open", "reconnecting", "closed"]

_NEXT: dict[State, frozenset[State]] = {
    "idle": frozenset({"connecting"}),
    "connecting": frozenset({"open", "idle", "closed"}),
    "open": frozenset({"reconnecting", "closed"}),
    "reconnecting": frozenset({"open", "closed"}),
    "closed": frozenset({"connecting"}),
}


def advance(state: State, to: State) -> State:
    """The state after the step from `state` to `to`."""
    if to not in _NEXT[state]:
        raise RuntimeError(f"a voice cannot go from {state} to {to}")
    return to
