"""What is written down holds no secret, and is still what it was in everything else."""

from __future__ import annotations

import base64
import json

import pytest
from vivavoce_conformance import tape
from vivavoce_conformance.peer.dialect import Frame
from vivavoce_conformance.scrub import HIDDEN, Scrubber
from vivavoce_conformance.tape import Recorder

SECRET = 'k3y-of "mine"/1+'
SCRUBBER = Scrubber([SECRET])


@pytest.mark.parametrize(
    "given",
    [
        SECRET,
        "k3y-of%20%22mine%22%2F1%2B",
        base64.b64encode(SECRET.encode()).decode(),
        json.dumps({"x": SECRET}),
        "Bearer abcdefgh12345678",
        "sk-proj-abcdefghijk",
    ],
)
def test_known_values_and_shapes(given: str) -> None:
    """A value that was given is found in each form that it travels in, and the shapes of keys without being given."""
    shown = SCRUBBER.text(f"it said {given} twice: {given}")
    assert HIDDEN in shown
    for part in ("k3y-of", "abcdefgh", base64.b64encode(SECRET.encode()).decode()[:12]):
        assert part not in shown


def test_messages_stay_messages() -> None:
    """What is named like a secret goes, at any depth; everything else stays, and JSON stays JSON."""
    message = {
        "session": {"client_secret": {"value": "ek_0123456789abcdef"}, "api_key": "whatever-it-is", "n": 7},
        "usage": {"total_tokens": 1234567, "token": 123456},
        "audio": base64.b64encode(bytes(range(256))).decode(),
        "arguments": '{"token": "letmein-please", "city": "Oslo"}',
        "text": f"grüße {SECRET}",
    }
    shown = json.loads(SCRUBBER.message(json.dumps(message)))
    assert shown["session"] == {"client_secret": {"value": HIDDEN}, "api_key": HIDDEN, "n": 7}
    assert (shown["usage"], shown["audio"]) == (message["usage"], message["audio"])
    assert "letmein" not in shown["arguments"]
    assert "Oslo" in shown["arguments"]
    assert shown["text"] == f"grüße {HIDDEN}"


def test_harmless_messages_are_untouched() -> None:
    """A message without a secret is the same text, down to its spaces."""
    text = '{ "type":"response.create",  "key":"C#",  "max_output_tokens":"inf" }'
    assert SCRUBBER.message(text) == text


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_streams_are_blanked_in_place(cut: int) -> None:
    """A secret that lies across two pieces of a stream is found, and every byte keeps its place."""
    stream = b'....{"k": "' + SECRET.encode() + b'", "password": "open sesame"} and on'
    pieces = [stream[:cut], stream[cut:]]
    shown = SCRUBBER.pieces(pieces)
    assert [len(piece) for piece in shown] == [len(piece) for piece in pieces]
    assert b"mine" not in b"".join(shown)
    assert b"sesame" not in b"".join(shown)
    assert b"".join(shown).endswith(b'"} and on')


def test_requests() -> None:
    """Of a request only what is known to be harmless keeps its value: the rest may be a credential by any name."""
    assert SCRUBBER.address("wss://me:pass@voice.example/v1?model=m&api-key=abc&sig=x&x=sk-abcdefghij") == (
        f"wss://voice.example/v1?model=m&api-key={HIDDEN}&sig={HIDDEN}&x={HIDDEN}"
    )
    headers = SCRUBBER.headers([("User-Agent", "vivavoce"), ("X-Anything", "abc"), ("Cookie", "a=b")])
    assert headers == {"user-agent": "vivavoce", "x-anything": HIDDEN, "cookie": HIDDEN}
    offered = ["realtime", "openai-insecure-api-key.sk-abcdefgh", "openai-beta.realtime-v1", "a9F3b2c1d0e9f8"]
    shown = SCRUBBER.subprotocols(offered)
    assert (shown[0], shown[2], shown[3]) == ("realtime", "openai-beta.realtime-v1", HIDDEN)
    assert "abcdefgh" not in shown[1]


def test_a_cassette_holds_none_of_it() -> None:
    """Opened, said and closed: nothing of a secret is in what a recorder gives, whatever the way it came."""
    recorder = Recorder(SCRUBBER, clock=iter(range(100)).__next__)
    quoted = json.dumps(SECRET)[1:-1]
    recorder.opened(1, "provider", path=f"/v1?key={SECRET}", headers=[("X", SECRET)], subprotocols=[SECRET])
    recorder.opened(1, "service", status=401, body=f'{{"error": "no such key: {quoted}"}}')
    frames: list[Frame] = [f'{{"a": "{quoted}"}}', SECRET.encode() + b"\x00\xff", f"plain {SECRET}"]
    for frame in frames:
        recorder.said(1, "provider", frame)
    recorder.closed(1, "service", code=3000, reason=f"bad {SECRET}")
    cassette = recorder.cassette(service=f"wss://x/?token={SECRET}", transport="websocket")
    assert "mine" not in repr(cassette)
    assert len(cassette.entries) == 6


def test_a_cassette_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after is passed on and not kept; that the connection was closed is."""
    monkeypatch.setattr(tape, "LARGEST", 100)
    recorder = Recorder(SCRUBBER)
    for _ in range(5):
        recorder.said(1, "provider", "x" * 40)
    recorder.closed(1, "service", code=1000)
    entries = recorder.cassette(service="ws://x", transport="websocket").entries
    assert (len(entries), recorder.is_full) == (3, True)
