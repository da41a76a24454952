"""Every foreign exception has its place in the tree of errors."""

from __future__ import annotations

import errno
import inspect
import socket
import ssl

import pytest
from vivavoce.errors import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    NotConnectedError,
    QuotaError,
    VoiceError,
)
from vivavoce_openai_realtime.transports.errors import (
    _TABLE,
    connection_closed,
    connection_dropped,
    http_refused,
    map_exception,
)
from websockets import exceptions
from websockets.datastructures import Headers
from websockets.frames import Close
from websockets.http11 import Response

# vars(), as getattr() would import the deprecated client's exceptions, which this one cannot raise.
LIBRARY = [cls for cls in vars(exceptions).values() if inspect.isclass(cls) and issubclass(cls, Exception)]
# The roots are in the table for a release to come; no class of today may rest on them.
ROOTS = {exceptions.WebSocketException, exceptions.InvalidHandshake}

ANSWER = Response(503, "Unavailable", Headers(), b"later")
EXAMPLES = {
    "ConnectionClosed": exceptions.ConnectionClosed(Close(1011, "x"), None),
    "ConnectionClosedOK": exceptions.ConnectionClosedOK(Close(1000, ""), Close(1000, ""), True),
    "ConnectionClosedError": exceptions.ConnectionClosedError(None, None),
    "InvalidURI": exceptions.InvalidURI("http://x", "scheme isn't ws or wss"),
    "InvalidProxy": exceptions.InvalidProxy("ftp://user:secret@x", "scheme ftp isn't supported"),
    "InvalidProxyStatus": exceptions.InvalidProxyStatus(ANSWER),
    "InvalidStatus": exceptions.InvalidStatus(ANSWER),
    "InvalidHeader": exceptions.InvalidHeader("Upgrade"),
    "InvalidHeaderFormat": exceptions.InvalidHeaderFormat("Upgrade", "expected token", "@", 0),
    "InvalidHeaderValue": exceptions.InvalidHeaderValue("Sec-WebSocket-Accept", "x"),
    "InvalidOrigin": exceptions.InvalidOrigin("x"),
    "InvalidUpgrade": exceptions.InvalidUpgrade("Upgrade"),
    "DuplicateParameter": exceptions.DuplicateParameter("x"),
    "InvalidParameterName": exceptions.InvalidParameterName("x"),
    "InvalidParameterValue": exceptions.InvalidParameterValue("x", "y"),
    "PayloadTooBig": exceptions.PayloadTooBig(2, 1),
}


def example(cls: type[Exception]) -> Exception:
    return EXAMPLES.get(cls.__name__) or cls("text")


@pytest.mark.parametrize("cls", LIBRARY, ids=lambda cls: cls.__name__)
def test_every_class_of_the_library_is_mapped(cls: type[Exception]) -> None:
    """Each exception class of websockets is in the table, or rests on a kin that is, never on the roots alone."""
    nearest = next((kin for kin in cls.__mro__ if kin in _TABLE), None)
    assert nearest is not None
    assert cls in ROOTS or nearest not in ROOTS, (
        f"{cls.__name__} needs a line in the table of transports/errors.py"
    )


@pytest.mark.parametrize("cls", LIBRARY, ids=lambda cls: cls.__name__)
def test_each_becomes_a_voice_error_that_says_what_to_do(cls: type[Exception]) -> None:
    """The text of each mapped error ends in a sentence of advice, and the code is not the base's."""
    error = map_exception(example(cls), target="api.example.com")
    assert isinstance(error, VoiceError)
    assert error.code not in ("error", "internal")
    assert error.message.endswith((".", "(cafile=...)."))
    assert error.message.count(". ") >= 1


@pytest.mark.parametrize(
    ("exc", "kind", "code", "retryable"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), ConnectError, "refused", True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ConnectError, "dns", True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), ConnectError, "connect", True),
        (OSError("Multiple exceptions: a, b"), ConnectError, "connect", True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), ConnectError, "connect", True),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), ConnectTimeoutError, "connect_timeout", True),
        (ssl.SSLCertVerificationError(1, "bad"), ConnectError, "tls_certificate", False),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), ConnectError, "tls", False),
        (ssl.SSLEOFError(8, "EOF"), ConnectError, "tls", True),
        (exceptions.InvalidURI("x", "no"), ConfigError, "config", False),
        (exceptions.InvalidProxy("x", "no"), ConfigError, "config", False),
        (exceptions.InvalidState("x"), NotConnectedError, "not_connected", False),
        (exceptions.ProtocolError("x"), ConnectionLostError, "protocol", False),
        (KeyError("x"), VoiceError, "internal", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_exceptions_of_the_system(exc: Exception, kind: type[VoiceError], code: str, retryable: bool) -> None:
    """Errors of sockets, DNS and TLS become a ConnectError whose code tells them apart."""
    error = map_exception(exc, target="api.example.com")
    assert (type(error), error.code, error.retryable) == (kind, code, retryable)


def test_a_voice_error_passes_unchanged() -> None:
    """What is mapped already is not mapped again."""
    error = QuotaError("x")
    assert map_exception(error) is error


@pytest.mark.parametrize(
    ("status", "kind", "code", "retryable"),
    [
        (401, AuthenticationError, "authentication", False),
        (403, AuthenticationError, "authentication", False),
        (404, ConnectError, "http_404", False),
        (429, QuotaError, "quota", False),
        (302, ConnectError, "http_302", False),
        (400, ConnectError, "http_400", False),
        (500, ConnectError, "http_500", True),
        (503, ConnectError, "http_503", True),
    ],
)
def test_http_statuses(status: int, kind: type[ConnectError], code: str, retryable: bool) -> None:
    """An HTTP status decides the class, the code and whether a retry helps; it stays readable as `status`."""
    error = http_refused(status, "Phrase", b'{"message": "why"}', target="api.example.com")
    assert (type(error), error.status, error.code, error.retryable) == (kind, status, code, retryable)
    assert '{"message": "why"}' in error.message


def test_the_body_is_bounded_and_redacted() -> None:
    """Of a server's text 500 characters are kept, on one line, and no key."""
    error = http_refused(401, "Unauthorized", b"key sk-proj-abcdef123456\n\n" + b"x" * 100_000, target="t")
    assert "abcdef" not in error.message
    assert "\n" not in error.message
    assert len(error.message) < 700


def test_the_password_of_a_proxy_stays_out() -> None:
    """A bad proxy address is reported without the address."""
    error = map_exception(EXAMPLES["InvalidProxy"])
    assert "secret" not in error.message
    assert isinstance(error, ConfigError)
    assert error.option == "proxy"


def test_a_wait_that_the_server_asks_for_is_told() -> None:
    """Retry-After in seconds is part of the text."""
    answer = Response(429, "Too Many Requests", Headers([("Retry-After", "7")]), b"slow down")
    assert "wait 7 s" in map_exception(exceptions.InvalidStatus(answer)).message


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1011, 1012, 1013, 1014])
def test_close_codes_that_are_worth_another_try(code: int) -> None:
    """Going away, a crash, a restart: the same connect may succeed."""
    error = connection_closed(code, "why")
    assert (error.retryable, error.close_code, error.code) == (True, code, "closed_by_peer")
    assert "why" in error.message


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4999])
def test_close_codes_that_are_final(code: int) -> None:
    """A normal end, a refusal, the service's own codes: trying again changes nothing."""
    error = connection_closed(code, "")
    assert (error.retryable, error.close_code) == (False, code)


def test_a_drop_is_1006_and_retryable() -> None:
    """No close frame came: the code for that is 1006."""
    error = connection_dropped(ConnectionResetError("reset by peer"))
    assert (error.code, error.close_code, error.retryable) == ("connection_lost", 1006, True)
    assert "reset by peer" in error.message
