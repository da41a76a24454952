"""Which request of ours an answer of the service belongs to.

The service echoes `event_id` only in errors; an acknowledgement carries none. So: errors by `event_id`; items by their
id; replies by a mark in their metadata; and everything else by order, since a session is served in order. Services
that echo nothing at all are served by order and by what the error is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from .values import JSON, ErrorDetail, Item, given

__all__ = ["FATAL_CODES", "TAG", "Pending", "Requests"]

TAG = "client_event_id"
"""The metadata key under which a `response.create` carries its event id."""

LIMIT = 256
"""Requests kept; a service that never answers some kind of request must not fill the memory."""

FATAL_CODES = frozenset(
    (
        "account_deactivated",
        "beta_api_shape_disabled",
        "billing_hard_limit_reached",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_model",
        "missing_model",
        "rate_limit_exceeded",
        "session_expired",
    )
)
"""Errors about the session or the account, whatever request was under way."""

_ABOUT = {
    "cannot_update_voice": "session.update",
    "conversation_already_has_active_response": "response.create",
    "input_audio_buffer_commit_empty": "input_audio_buffer.commit",
    "item_create_duplicate_item_id": "conversation.item.create",
    "item_delete_invalid_item_id": "conversation.item.delete",
    "item_retrieve_invalid_item_id": "conversation.item.retrieve",
    "item_truncate_invalid_item_id": "conversation.item.truncate",
    "response_cancel_not_active": "response.cancel",
}
_PARAMS = {"session": "session.update", "item": "conversation.item.create", "response": "response.create"}

_UNANSWERABLE = (
    "audio",
    "type",
)  # params of an error about an append, or about an event of the application's own


class Pending(Struct, frozen=True):
    """A request that was not answered yet. `key` is an item id or a response id, `item` the item it creates."""

    id: str
    type: str
    key: str | None = None
    item: JSON | None = None
    out_of_band: bool = False


class Requests:
    """Pending requests, oldest first."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}
        self._tags_seen = False
        self._overtaken: frozenset[str] = frozenset()
        self.answers_turns = False
        """The service says that it begins a reply by itself at the end of a turn."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._pending)

    def add(self, request: Pending) -> None:
        if len(self._pending) >= LIMIT:
            del self._pending[next(iter(self._pending))]
        self._pending[request.id] = request

    def any(self, kind: str) -> bool:
        return any(request.type == kind for request in self._pending.values())

    def asked_for_reply(self) -> bool:
        """Whether a reply of the default conversation was asked for and has not begun."""
        return any(r.type == "response.create" and not r.out_of_band for r in self._pending.values())

    def turn_ended(self) -> None:
        """The service ended a turn by itself: its own reply comes before those that were asked for until now."""
        if self.answers_turns:
            asked = (
                r.id for r in self._pending.values() if r.type == "response.create" and not r.out_of_band
            )
            self._overtaken = frozenset(asked)

    def forget(self, request_id: str) -> None:
        self._pending.pop(request_id, None)

    def take(self, kind: str, key: str | None = None) -> Pending | None:
        """The oldest request of a kind; with `key`, the oldest about that, or about nothing in particular."""
        return self._take(lambda r: r.type == kind and (key is None or r.key in (None, key)))

    def take_item(self, item_id: str, item: Item, *, ours: bool) -> Pending | None:
        """The request that created an item: by id, else (`ours`: nobody else can have made it) by its likeness."""
        exact = self._take(lambda r: r.type == "conversation.item.create" and r.key == item_id)
        if exact is not None or not ours:
            return exact
        return self._take(
            lambda r: r.type == "conversation.item.create" and r.item is not None and _alike(r.item, item)
        )

    def take_response(self, metadata: Mapping[str, object], *, out_of_band: bool) -> Pending | None:
        """The request that a reply answers. By its mark if the service ever kept one, else by order."""
        tag = metadata.get(TAG)
        if isinstance(tag, str):
            self._tags_seen = True
            request = self._pending.get(tag)
            return (
                self._pending.pop(tag) if request is not None and request.type == "response.create" else None
            )
        if self._tags_seen:
            return None  # the service began it by itself, at the end of speech
        if self._overtaken & self._pending.keys() and not out_of_band:
            self._overtaken = frozenset()
            return None  # the same, of a service that has not shown yet whether it keeps marks
        kind = self._take(lambda r: r.type == "response.create" and r.out_of_band == out_of_band)
        # Not every service says which conversation a reply is in.
        return kind or self.take("response.create")

    def refuse(self, error: ErrorDetail) -> Pending | None:
        """The request that an error is about, if any."""
        event_id, code, param = given(error.event_id), given(error.code), given(error.param)
        if event_id:
            return self._pending.pop(event_id, None)
        if code in FATAL_CODES or param in _UNANSWERABLE:
            return None
        about = _ABOUT.get(code or "") or _PARAMS.get((param or "").split(".")[0].split("[")[0])
        if about is not None:
            return self.take(about)
        if len(self._pending) == 1 and given(error.type) in (None, "invalid_request_error"):
            return self._pending.popitem()[1]
        return None

    def clear(self) -> None:
        self._pending.clear()

    def _take(self, matches: Callable[[Pending], bool]) -> Pending | None:
        for request in self._pending.values():
            if matches(request):
                return self._pending.pop(request.id)
        return None


def _alike(sent: JSON, item: Item) -> bool:
    if sent.get("role") == "assistant" or sent.get("type") != given(item.type):
        return False
    if sent.get("role") != given(item.role):
        return False
    return sent.get("call_id") == given(item.call_id)
