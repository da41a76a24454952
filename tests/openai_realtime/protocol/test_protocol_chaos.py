"""Whatever a peer sends, in whatever order, however broken: no exception leaves either half."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vivavoce_openai_realtime.protocol import DIALECTS, ClientProtocol, ServerProtocol
from vivavoce_openai_realtime.protocol import events as e

EVENTS: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "wire_events.json").read_text())
SERVER = EVENTS["server"] + EVENTS["server_beta"] + EVENTS["server_translation"]
CLIENT = EVENTS["client"] + EVENTS["client_other"]
IDS = ("resp_1", "resp_2", "item_1", "item_2", "item_3", "call_1", "req_1", "req_2", "", None, 7)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(IDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def changed(value: Any, path: list[int], new: Any) -> Any:
    """`value` with something at `path` (indices, taken modulo) replaced by `new`."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[path[0] % len(keys)]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = changed(copy[key], path[1:], new)
    return copy


def without(value: dict[str, Any], index: int) -> dict[str, Any]:
    keys = list(value)
    return {k: v for k, v in value.items() if k != keys[index % len(keys)]}


def frames(samples: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Frames that are right, that lack a field, hold a wrong one, are cut short, have a byte changed, or are noise."""
    event = st.sampled_from(samples)
    wrong = st.builds(changed, event, st.lists(st.integers(0, 20), min_size=1, max_size=4), JUNK)
    poor = st.builds(without, event, st.integers(0, 20))
    right = st.one_of(event, wrong, poor).map(lambda v: json.dumps(v).encode())
    cut = st.builds(lambda f, n: f[: n % (len(f) + 1)], right, st.integers(0, 5_000))
    bent = st.builds(
        lambda f, n, b: f[: n % len(f)] + bytes([b]) + f[n % len(f) + 1 :],
        right,
        st.integers(0, 5_000),
        st.integers(0, 255),
    )
    return st.one_of(right, right, right, cut, bent, st.binary(max_size=40))


VERBS: list[tuple[str, tuple[Any, ...]]] = [
    ("send_session", ({"voice": "ash"},)),
    ("send_item", ({"type": "message", "role": "user", "content": []},)),
    ("send_item", ({"type": "message", "role": "user", "id": "item_1", "content": []},)),
    ("send_response", ()),
    ("send_response", ({"conversation": "none"},)),
    ("send_cancel", ()),
    ("send_cancel", ("resp_1",)),
    ("send_truncate", ("item_2", 1_000)),
    ("send_delete", ("item_2",)),
    ("send_retrieve", ("item_1",)),
    ("send_commit", ()),
    ("send_clear", ()),
]


@QUICK
@given(st.sampled_from(sorted(DIALECTS)), st.lists(frames(SERVER) | st.sampled_from(VERBS), max_size=60))
def test_client_survives(dialect: str, steps: list[bytes | tuple[str, tuple[Any, ...]]]) -> None:
    """Frames and verbs in any order: no exception, one end per beginning, each call once, whole samples."""
    protocol = ClientProtocol(DIALECTS[dialect])
    events: list[Any] = []
    for step in steps:
        if isinstance(step, bytes):
            events += protocol.receive_text(step)
        else:
            with suppress(ValueError):  # a second reply
                getattr(protocol, step[0])(*step[1])
    for frame in protocol.data_to_send():
        assert isinstance(json.loads(frame)["type"], str)
    check(events)
    assert [type(x) for x in protocol.receive_eof(1006)] == [e.Closed]


def check(events: list[Any]) -> None:
    running: set[str] = set()
    for event in events:
        if isinstance(event, e.ResponseStarted):
            assert event.response_id not in running
            running.add(event.response_id)
        elif isinstance(event, e.ResponseFinished):
            running.remove(event.response_id)
        elif isinstance(event, e.Audio) and event.response_id is not None:
            assert event.response_id in running
            assert event.audio
        elif isinstance(event, e.TextDelta) and event.response_id is not None:
            assert event.response_id in running
    calls = Counter(x.call_id for x in events if isinstance(x, e.ToolCallReady))
    assert set(calls.values()) <= {1}
    assert sum(isinstance(x, e.SessionReady) for x in events) <= 1


TURN = [
    x
    for x in EVENTS["server"]
    if x["type"].startswith(("response.", "conversation.item.added", "conversation.item.done"))
    and "mcp" not in x["type"]
]


@QUICK
@given(st.permutations(TURN), st.sets(st.integers(0, 30)), st.lists(st.integers(0, 30), max_size=5))
def test_one_reply_in_any_order(order: list[dict[str, Any]], lost: set[int], doubled: list[int]) -> None:
    """The events of one reply, shuffled, some lost and some twice: it ends at most as often as it begins, its call once."""
    dialogue = [x for i, x in enumerate(order) if i not in lost] + [order[i % len(order)] for i in doubled]
    protocol = ClientProtocol()
    check([event for x in dialogue for event in protocol.receive_text(json.dumps(x))])


@QUICK
@given(
    st.booleans() | st.none(),
    st.lists(frames(CLIENT) | st.sampled_from(["begin", "audio", "call", "finish", "commit"]), max_size=60),
)
def test_server_survives(beta: bool | None, steps: list[bytes | str]) -> None:
    """Frames and verbs in any order: no exception, and every answer is JSON with a type and an id."""
    server = ServerProtocol(model="m", beta=beta)
    verbs = {
        "begin": server.begin_response,
        "audio": lambda: server.audio(b"\0\0"),
        "call": lambda: server.function_call("f", "{}"),
        "finish": server.finish_response,
        "commit": server.commit,
    }
    for step in steps:
        if isinstance(step, bytes):
            server.receive_text(step)
        else:
            with suppress(ValueError):  # no reply, or one too many
                verbs[step]()  # type: ignore[operator]
    for frame in server.data_to_send():
        event = json.loads(frame)
        assert event["type"]
        assert event["event_id"]


@QUICK
@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=12))
def test_audio_is_whole_however_it_is_cut(pieces: list[bytes]) -> None:
    """Audio cut anywhere arrives whole, in order, in whole samples; only half a sample at the very end is lost."""
    server, client = ServerProtocol(model="m"), ClientProtocol()
    server.begin_response()
    for piece in pieces:
        server.audio(piece)
    heard = [
        x.audio
        for frame in server.data_to_send()
        for x in client.receive_text(frame)
        if isinstance(x, e.Audio)
    ]
    whole = b"".join(pieces)
    assert b"".join(heard) == whole[: len(whole) // 2 * 2]
    assert all(len(audio) % 2 == 0 and audio for audio in heard)
