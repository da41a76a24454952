"""The states of a session, a response and an item, as tables. Both halves of the protocol use them.

Two rules. What is not in a table changes nothing: `step` then returns the state it was given, and the caller asks
`allowed` first where that matters (it does for what we send; what a peer sends is only ever ignored). And no table
knows what an event means for anybody else: that is the business of `client` and `server`.

A session
    connecting   the socket is open; neither side may rely on a configuration
    created      the service has introduced the session, with its own defaults
    updating     our `session.update` is on its way
    configured   the service has acknowledged the last `session.update`
    closed       nothing more in either direction

`session.update` may be sent while connecting (services queue it); some compatible services never send
`session.created`, so `session.updated` opens a session as well.

A response
    requested    `response.create` was sent
    in_progress  the service has begun it, on request or by itself at the end of speech
    cancelling   `response.cancel` was sent; whatever still arrives of it is stale
    done         completed, cancelled, incomplete or failed; its id is dead

The first thing heard of a response may be any of its events: then it is in progress, with or without a request.

An item
    in_progress  announced, still being made
    done         as complete as it will ever be
    truncated    its audio and transcript were cut by the application
    deleted      no longer part of the conversation; some services use its id again
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

__all__ = ["ITEM", "RESPONSE", "SESSION", "ItemState", "ResponseState", "SessionState", "allowed", "step"]


class SessionState(Enum):
    """Where a session is; see the page above."""

    CONNECTING = "connecting"
    CREATED = "created"
    UPDATING = "updating"
    CONFIGURED = "configured"
    CLOSED = "closed"


class ResponseState(Enum):
    """Where a response is."""

    REQUESTED = "requested"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    DONE = "done"


class ItemState(Enum):
    """Where an item is."""

    IN_PROGRESS = "in_progress"
    DONE = "done"
    TRUNCATED = "truncated"
    DELETED = "deleted"


E = TypeVar("E", bound=Enum)
Table = Mapping[tuple[E | None, str], E]

_S, _R, _I = SessionState, ResponseState, ItemState

SESSION: Table[SessionState] = {
    (_S.CONNECTING, "created"): _S.CREATED,
    (_S.CONNECTING, "updated"): _S.CONFIGURED,
    (_S.CONNECTING, "update"): _S.CONNECTING,
    (_S.CREATED, "update"): _S.UPDATING,
    (_S.CREATED, "updated"): _S.CONFIGURED,
    (_S.UPDATING, "update"): _S.UPDATING,
    (_S.UPDATING, "updated"): _S.CONFIGURED,
    (_S.UPDATING, "refused"): _S.CREATED,
    (_S.CONFIGURED, "update"): _S.UPDATING,
    (_S.CONFIGURED, "updated"): _S.CONFIGURED,
    **{(state, "close"): _S.CLOSED for state in _S},
}

RESPONSE: Table[ResponseState] = {
    (None, "request"): _R.REQUESTED,
    (None, "begin"): _R.IN_PROGRESS,
    (_R.REQUESTED, "begin"): _R.IN_PROGRESS,
    (_R.REQUESTED, "refused"): _R.DONE,
    (_R.IN_PROGRESS, "cancel"): _R.CANCELLING,
    (_R.CANCELLING, "cancel"): _R.CANCELLING,
    (_R.IN_PROGRESS, "done"): _R.DONE,
    (_R.CANCELLING, "done"): _R.DONE,
    (_R.DONE, "begin"): _R.IN_PROGRESS,  # a service that uses its ids again
}

ITEM: Table[ItemState] = {
    (None, "add"): _I.IN_PROGRESS,
    (None, "done"): _I.DONE,
    (_I.IN_PROGRESS, "done"): _I.DONE,
    (_I.IN_PROGRESS, "truncate"): _I.TRUNCATED,
    (_I.DONE, "truncate"): _I.TRUNCATED,
    (_I.TRUNCATED, "truncate"): _I.TRUNCATED,
    (_I.IN_PROGRESS, "delete"): _I.DELETED,
    (_I.DONE, "delete"): _I.DELETED,
    (_I.TRUNCATED, "delete"): _I.DELETED,
    (_I.DELETED, "add"): _I.IN_PROGRESS,
    (_I.DONE, "add"): _I.IN_PROGRESS,
}


def step(table: Table[E], state: E | None, event: str) -> E | None:
    """The state after `event`; the same one where the table has no such step."""
    return table.get((state, event), state)


def allowed(table: Table[E], state: E | None, event: str) -> bool:
    """Whether the table has a step for `event` from `state`."""
    return (state, event) in table
