"""Recorded dialogues: the orders of OpenAI, and those of the services that differ. Each is a table of
(what the service sends, what it means)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from vivavoce_openai_realtime.protocol import ClientProtocol, UnknownEvent
from vivavoce_openai_realtime.protocol import events as e
from vivavoce_openai_realtime.protocol.server_events import ConversationCreated
from vivavoce_openai_realtime.protocol.values import ErrorDetail

JSON = dict[str, Any]
PCM = "AAECAw=="
PART = {"response_id": "r", "item_id": "a", "output_index": 0, "content_index": 0}
MESSAGE = {"id": "a", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
SAID = {**MESSAGE, "status": "completed", "content": [{"type": "output_audio", "transcript": "Hello"}]}
USER = {
    "id": "u",
    "type": "message",
    "role": "user",
    "content": [{"type": "input_audio", "transcript": None}],
}
CALL = {
    "id": "c",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "f",
    "arguments": "{}",
}
CALLING = {**CALL, "status": "in_progress", "arguments": ""}
ARGUMENTS = {"response_id": "r", "item_id": "c", "output_index": 0, "call_id": "call_1"}
USAGE = {"total_tokens": 3}


def ev(type: str, **fields: Any) -> JSON:
    return {"type": type, **fields}


def response(status: str = "in_progress", **fields: Any) -> JSON:
    return {
        "id": "r",
        "status": status,
        "status_details": None,
        "output": [],
        "conversation_id": "conv",
        **fields,
    }


def created(**fields: Any) -> JSON:
    return ev("response.created", response=response(**fields))


def done(status: str = "completed", **fields: Any) -> JSON:
    return ev("response.done", response=response(status, **fields))


def finished(
    status: str = "completed", reason: str | None = None, usage: JSON | None = None
) -> e.ResponseFinished:
    return e.ResponseFinished("r", status, reason, None, usage, False, {})


STARTED = e.ResponseStarted(None, "r", False, {})
AUDIO = e.Audio(b"\0\1\2\3", "r", "a", 0)
AUDIO_DONE = e.AudioDone("r", "a", 0)
HEL = e.TextDelta("Hel", "assistant", True, "a", "r", 0)
HELLO = e.TextFinal("Hello", "assistant", True, "a", "r", 0)
CALLED = e.ToolCallReady("r", "c", "call_1", "f", "{}")
T = "conversation.item.input_audio_transcription."


def hear(dialogue: list[JSON], protocol: ClientProtocol | None = None) -> list[Any]:
    """What a dialogue means, without items: they have tests of their own."""
    protocol = protocol or ClientProtocol()
    heard = [event for frame in dialogue for event in protocol.receive_text(json.dumps(frame))]
    return [event for event in heard if not isinstance(event, e.ItemAdded | e.ItemDone)]


VAD_TURN = [
    ev("input_audio_buffer.speech_started", audio_start_ms=100, item_id="u"),
    ev("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="u"),
    ev("input_audio_buffer.committed", item_id="u", previous_item_id=None),
    ev("conversation.item.added", item=USER, previous_item_id=None),
    ev("conversation.item.done", item=USER, previous_item_id=None),
    created(),
    ev("response.output_item.added", response_id="r", output_index=0, item=MESSAGE),
    ev("conversation.item.added", item=MESSAGE, previous_item_id="u"),
    ev("response.content_part.added", **PART, part={"type": "audio", "transcript": ""}),
    ev("response.output_audio_transcript.delta", **PART, delta="Hel", obfuscation="x"),
    ev("response.output_audio.delta", **PART, delta=PCM),
    ev(T + "completed", item_id="u", content_index=0, transcript="Hi", usage=USAGE),
    ev("response.output_audio.done", **PART),
    ev("response.output_audio_transcript.done", **PART, transcript="Hello"),
    ev("response.content_part.done", **PART, part={"type": "audio", "transcript": "Hello"}),
    ev("conversation.item.done", item=SAID, previous_item_id="u"),
    ev("response.output_item.done", response_id="r", output_index=0, item=SAID),
    done(output=[SAID], usage=USAGE),
    ev("rate_limits.updated", rate_limits=[]),
]
VAD_HEARD = [
    e.SpeechStarted("u", 100),
    e.SpeechStopped("u", 900),
    e.Committed(None, "u", None),
    STARTED,
    HEL,
    AUDIO,
    e.TextFinal("Hi", "user", True, "u", None, 0, USAGE),
    AUDIO_DONE,
    HELLO,
    finished(usage=USAGE),
    e.RateLimits([]),
]


def renamed(dialogue: list[JSON]) -> list[JSON]:
    """The dialogue with beta's names."""
    return [
        {
            **frame,
            "type": frame["type"].replace("output_audio", "audio").replace("item.added", "item.created"),
        }
        if not frame["type"].startswith("response.output_item")
        else frame
        for frame in dialogue
        if frame["type"] != "conversation.item.done"
    ]


def without(dialogue: list[JSON], *types: str) -> list[JSON]:
    return [frame for frame in dialogue if not frame["type"].startswith(types)]


def both_families(dialogue: list[JSON]) -> list[JSON]:
    """Every delta and its end twice, under GA's name and beta's."""
    return [
        f
        for frame in dialogue
        for f in ([frame, *renamed([frame])] if "response.output_audio" in frame["type"] else [frame])
    ]


DIALOGUES: dict[str, tuple[list[JSON], list[Any]]] = {
    "vad turn": (VAD_TURN, VAD_HEARD),
    "vad turn in beta": (renamed(VAD_TURN), VAD_HEARD),
    "both families at once": (both_families(VAD_TURN), VAD_HEARD),
    "no item.done": (without(VAD_TURN, "conversation.item.done"), VAD_HEARD),
    "no items, no parts": (
        without(VAD_TURN, "response.output_item", "response.content_part", "conversation.item.added"),
        VAD_HEARD,
    ),
    "no created": (without(VAD_TURN, "response.created"), VAD_HEARD),
    "no ends but the last": (
        without(
            VAD_TURN,
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
        ),
        [*VAD_HEARD[:7], HELLO, AUDIO_DONE, *VAD_HEARD[9:]],
    ),
    "a done without output": (
        [
            created(),
            ev("response.output_audio_transcript.delta", **PART, delta="Hel"),
            ev("response.done", response={"id": "r", "status": "completed"}),
        ],
        [STARTED, HEL, e.TextFinal("Hel", "assistant", True, "a", "r", 0), finished()],
    ),
    "text": (
        [
            created(),
            ev("response.output_text.delta", **PART, delta="Hel"),
            ev("response.text.delta", **PART, delta="Hel"),
            ev("response.text.done", **PART, text="Hello"),
            ev("response.output_text.done", **PART, text="Hello"),
            done(),
        ],
        [
            STARTED,
            e.TextDelta("Hel", "assistant", False, "a", "r", 0),
            e.TextFinal("Hello", "assistant", False, "a", "r", 0),
            finished(),
        ],
    ),
    "usage beside the response": (
        [created(), {**ev("response.done", response=response("completed")), "usage": USAGE}],
        [STARTED, finished(usage=USAGE)],
    ),
    "call": (
        [
            created(),
            ev("response.output_item.added", response_id="r", output_index=0, item=CALLING),
            ev("response.function_call_arguments.delta", **ARGUMENTS, delta="{}"),
            ev("response.function_call_arguments.done", **ARGUMENTS, name="f", arguments="{}"),
            ev("response.output_item.done", response_id="r", output_index=0, item=CALL),
            done(output=[CALL]),
        ],
        [STARTED, CALLED, finished()],
    ),
    "call named by its item only": (
        [
            created(),
            ev("response.output_item.added", response_id="r", output_index=0, item=CALLING),
            ev("response.function_call_arguments.done", response_id="r", item_id="c", arguments="{}"),
            done(output=[CALL]),
        ],
        [STARTED, CALLED, finished()],
    ),
    "call complete with its item only": (
        [created(), ev("response.output_item.done", response_id="r", output_index=0, item=CALL), done()],
        [STARTED, CALLED, finished()],
    ),
    "call nowhere but at the end": ([created(), done(output=[CALL])], [STARTED, CALLED, finished()]),
    "call cut off": (
        [
            created(),
            done(
                "cancelled",
                status_details={"type": "cancelled", "reason": "turn_detected"},
                output=[{**CALL, "status": "incomplete"}],
            ),
        ],
        [STARTED, finished("cancelled", "turn_detected")],
    ),
    "call before its name": (
        [
            created(),
            ev(
                "response.function_call_arguments.done",
                response_id="r",
                item_id="c",
                call_id="call_1",
                arguments="{}",
            ),
            ev("response.output_item.done", response_id="r", output_index=0, item=CALL),
            done(),
        ],
        [STARTED, CALLED, finished()],
    ),
    "failed": (
        [
            created(),
            done(
                "failed",
                status_details={
                    "type": "failed",
                    "error": {"type": "server_error", "code": "rate_limit_exceeded"},
                },
            ),
        ],
        [
            STARTED,
            e.ResponseFinished(
                "r",
                "failed",
                None,
                ErrorDetail(type="server_error", code="rate_limit_exceeded"),
                None,
                False,
                {},
            ),
        ],
    ),
    "after the end": (
        [
            created(),
            done(),
            ev("response.output_audio.delta", **PART, delta=PCM),
            ev("response.output_text.delta", **PART, delta="x"),
            done(),
        ],
        [STARTED, finished()],
    ),
    "superseded": (
        [created(), ev("response.created", response={**response(), "id": "r2"})],
        [STARTED, finished("incomplete", "superseded"), e.ResponseStarted(None, "r2", False, {})],
    ),
    "ids used again": ([created(), done(), created(), done()], [STARTED, finished(), STARTED, finished()]),
    "stopped twice": (
        [ev("input_audio_buffer.speech_stopped", audio_end_ms=5, item_id="u")] * 2,
        [e.SpeechStopped("u", 5)],
    ),
    "cumulative transcript": (
        [ev(T + "updated", item_id="u", transcript=t) for t in ("Hi", "Hi th", "Hi th")]
        + [ev(T + "completed", item_id="u", transcript="Hi there")] * 2,
        [
            e.TextDelta("Hi", "user", True, "u", None, 0),
            e.TextDelta(" th", "user", True, "u", None, 0),
            e.TextFinal("Hi there", "user", True, "u", None, 0),
        ],
    ),
    "transcript failed": (
        [ev(T + "failed", item_id="u", content_index=0, error={"message": "What?"})],
        [e.TranscriptFailed("u", 0, ErrorDetail(message="What?"))],
    ),
    "conversation first, then pings": (
        [
            ev("conversation.created", conversation={}),
            ev("ping"),
            ev("session.created", session={"id": "s"}),
            ev("ping", timestamp=1),
        ],
        [ConversationCreated({}), e.SessionReady("s", None, {"id": "s"})],
    ),
    "no session.created": (
        [ev("session.updated", session={"id": "s"})],
        [e.SessionReady("s", None, {"id": "s"}), e.SessionUpdated(None, {"id": "s"})],
    ),
    "translation": (
        [
            ev("session.output_audio.delta", delta=PCM),
            ev("session.output_transcript.delta", delta="Hallo"),
            ev("session.input_transcript.delta", delta="Hi"),
        ],
        [
            e.Audio(b"\0\1\2\3", None, None, 0),
            e.TextDelta("Hallo", "assistant", True, None, None, 0),
            e.TextDelta("Hi", "user", True, None, None, 0),
        ],
    ),
    "unknown": ([ev("x.y", z=1)], [UnknownEvent("x.y", {"type": "x.y", "z": 1})]),
    "an error in words": (
        [ev("error", error="busy", code=7)],
        [e.ServerError(ErrorDetail(message="busy", code="7"))],
    ),
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(name: str) -> None:
    """Whatever the order and the names, the dialogue means the same."""
    dialogue, expected = DIALOGUES[name]
    assert hear(dialogue) == expected


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue_leaves_nothing_running(name: str) -> None:
    """When the dialogue is over, no reply is active but one that was not ended."""
    protocol = ClientProtocol()
    hear(DIALOGUES[name][0], protocol)
    assert protocol.active_response == ("r2" if name == "superseded" else None)


def items_of(dialogue: list[JSON]) -> list[tuple[str, str, str | None]]:
    protocol = ClientProtocol()
    heard = [event for frame in dialogue for event in protocol.receive_text(json.dumps(frame))]
    return [
        (type(i).__name__, i.item_id, getattr(i, "previous_item_id", None))
        for i in heard
        if isinstance(i, e.ItemAdded | e.ItemDone)
    ]


@pytest.mark.parametrize(
    ("dialogue", "expected"),
    [
        (
            VAD_TURN,
            [
                ("ItemAdded", "u", None),
                ("ItemDone", "u", None),
                ("ItemAdded", "a", "u"),
                ("ItemDone", "a", None),
            ],
        ),
        (renamed(VAD_TURN), [("ItemAdded", "u", None), ("ItemAdded", "a", "u")]),
        (
            without(VAD_TURN, "conversation.item.added"),
            [
                ("ItemAdded", "u", None),
                ("ItemDone", "u", None),
                ("ItemAdded", "a", "u"),
                ("ItemDone", "a", None),
            ],
        ),
        (without(VAD_TURN, "conversation.item"), [("ItemAdded", "a", None), ("ItemDone", "a", None)]),
        (
            [*VAD_TURN[:5], *VAD_TURN[3:5]],
            [
                ("ItemAdded", "u", None),
                ("ItemDone", "u", None),
                ("ItemAdded", "u", None),
                ("ItemDone", "u", None),
            ],
        ),
    ],
    ids=["ga", "beta", "no added", "none", "ids used again"],
)
def test_items_are_told_once(dialogue: list[JSON], expected: list[Any]) -> None:
    """An item is told once when it is added and once when it is done, whichever events the service has for it."""
    assert items_of(dialogue) == expected


def test_odd_bytes_wait_for_their_other_half() -> None:
    """Audio is told in whole samples, however the service cuts it, per item."""
    deltas = [("a", "AA=="), ("b", "AQ=="), ("a", "AgME"), ("b", "BQYH"), ("a", "CA==")]
    heard = hear(
        [
            created(),
            *(ev("response.output_audio.delta", **{**PART, "item_id": i}, delta=d) for i, d in deltas),
        ]
    )
    assert [(a.item_id, a.audio) for a in heard[1:]] == [("a", b"\0\2\3\4"), ("b", b"\1\5\6\7")]


def test_received_milliseconds_follow_the_format() -> None:
    """What was received of an item is counted in the format of its reply."""
    protocol = ClientProtocol()
    session = {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}
    delta = ev("response.output_audio.delta", **PART, delta="AAAA" * 320)
    hear([ev("session.created", session=session), created(), delta], protocol)
    assert protocol.received_ms("a") == 120
    assert protocol.received_ms("a", 1) == protocol.received_ms("x") == 0


def test_out_of_band_reply_runs_beside_the_other() -> None:
    """A reply that is no part of the conversation is marked, and the active one stays."""
    protocol = ClientProtocol()
    other = {**response(), "id": "o", "conversation_id": None, "metadata": {"topic": "x"}}
    heard = hear(
        [
            created(),
            ev("response.created", response=other),
            ev("response.done", response={**other, "status": "completed"}),
        ],
        protocol,
    )
    assert heard[1:] == [
        e.ResponseStarted(None, "o", True, {"topic": "x"}),
        e.ResponseFinished("o", "completed", None, None, None, True, {"topic": "x"}),
    ]
    assert protocol.active_response == "r"


def test_cancelled_reply_is_stale_at_once() -> None:
    """After a cancel nothing of the reply is told but its end, and what was dropped is counted."""
    protocol = ClientProtocol()
    audio = ev("response.output_audio.delta", **PART, delta=PCM)
    hear([created(), audio], protocol)
    protocol.send_cancel()
    rest = hear(
        [
            audio,
            audio,
            ev("response.output_audio.done", **PART),
            done("cancelled", status_details={"reason": "client_cancelled"}),
        ],
        protocol,
    )
    assert rest == [AUDIO_DONE, finished("cancelled", "client_cancelled")]
    assert (protocol.stale, protocol.pending) == (2, ())


@pytest.mark.parametrize("verb", ["truncate", "delete"])
def test_cut_item_is_stale_at_once(verb: str) -> None:
    """After an item was cut, audio of it that still arrives is dropped."""
    protocol = ClientProtocol()
    audio = ev("response.output_audio.delta", **PART, delta=PCM)
    hear([created(), audio], protocol)
    protocol.send_truncate("a", 99_999) if verb == "truncate" else protocol.send_delete("a")
    assert hear([audio], protocol) == []
    sent = json.loads(protocol.data_to_send()[0])
    assert sent.get("audio_end_ms", 0) == 0  # four bytes are less than a millisecond


def test_closed_says_why_and_what_was_pending() -> None:
    """The end comes once, with the error that caused it and the requests nobody will answer."""
    protocol = ClientProtocol()
    request = protocol.send_session({})
    error = {"type": "invalid_request_error", "code": "invalid_api_key", "message": "No."}
    assert hear([ev("error", error=error)], protocol) == [e.ServerError(ErrorDetail(**error))]
    closed = e.Closed(3000, "invalid_request_error.invalid_api_key", ErrorDetail(**error), (request,))
    assert list(protocol.receive_eof(3000, "invalid_request_error.invalid_api_key")) == [closed]
    assert (
        list(protocol.receive_eof(1000))
        == list(protocol.receive_binary(b""))
        == hear([created()], protocol)
        == []
    )
    with pytest.raises(ValueError, match="closed"):
        protocol.send_commit()


def test_replies_that_never_end_are_bounded() -> None:
    """A service that begins replies and ends none does not fill the memory."""
    protocol = ClientProtocol()
    for number in range(200):
        other = {"id": f"r{number}", "conversation_id": None, "metadata": {"n": str(number)}}
        hear([ev("response.created", response=other)], protocol)
    last = hear(
        [ev("response.created", response={"id": "x", "conversation_id": None, "metadata": {"n": "x"}})],
        protocol,
    )
    assert [type(event) for event in last] == [e.ResponseFinished, e.ResponseStarted]
    assert last[0].response_id == "r136"
