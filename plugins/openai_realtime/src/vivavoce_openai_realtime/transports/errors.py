"""What `websockets`, `ssl` and the operating system raise, as `vivavoce.errors`: here, and nowhere further in.

One table by class. The nearest class of an exception's line of ancestors decides.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

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
from websockets import exceptions as ws
from websockets.frames import CloseCode
from websockets.http11 import Response

__all__ = [
    "connection_closed",
    "connection_dropped",
    "connection_failed",
    "http_refused",
    "map_exception",
    "proxy_refused",
]

# Enough for the sentence a service explains itself with, too little to flood a log.
_LONGEST_BODY = 500
_ABNORMAL = int(CloseCode.ABNORMAL_CLOSURE)

# https://www.iana.org/assignments/websocket/websocket.xhtml
_CLOSES: dict[int, tuple[str, str]] = {
    1000: ("normal closure", "The session is over; connect again for a new one."),
    1001: ("going away", "Connect again."),
    1002: (
        "protocol error",
        "The peer calls what it was sent no WebSocket; check that the url leads to the service.",
    ),
    1003: ("unsupported data", "The peer does not take this kind of message."),
    1005: ("no status", "Connect again."),
    1006: ("no close frame", "Connect again."),
    1007: ("invalid data", "The peer could not read a message; check what was sent."),
    1008: ("policy violation", "Check the credential, the model and the account's limits."),
    1009: ("message too big", "Send smaller messages."),
    1010: ("extension missing", "The peer requires an extension; try compression='deflate'."),
    1011: ("internal error", "Connect again."),
    1012: ("service restart", "Connect again."),
    1013: ("try again later", "Connect again in a moment."),
    1014: ("bad gateway", "Connect again in a moment."),
}
_RETRYABLE_CLOSES = frozenset({1001, 1005, 1006, 1011, 1012, 1013, 1014})
_PRIVATE_CLOSE = ("the service's own code", "See the reason and the service's documentation.")

_STATUS_ADVICE = {
    401: "Check the API key.",
    403: "Check that the API key may use this service and model.",
    404: "Check the url and the model's name.",
    407: "Put the proxy's user and password into its address.",
    429: "Check the account's quota, or wait before the next connect.",
}
_RETRYABLE_STATUSES = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})


def connection_closed(code: int, reason: str) -> ConnectionLostError:
    """The loss that a close frame of the peer with `code` and `reason` means."""
    meaning, advice = _CLOSES.get(code, _PRIVATE_CLOSE)
    said = f": {reason}" if reason else ""
    return ConnectionLostError(
        f"The peer closed the connection with code {code} ({meaning}){said}. {advice}",
        code="closed_by_peer",
        close_code=code,
        retryable=code in _RETRYABLE_CLOSES,
    )


def connection_dropped(exc: BaseException | None) -> ConnectionLostError:
    """The loss of a connection that ended without a close frame: `exc`, or the end of the stream."""
    how = f" ({_plain(exc)})" if exc is not None else ""
    return ConnectionLostError(
        f"The connection ended without a close frame{how}. Check the network, then connect again.",
        close_code=_ABNORMAL,
        retryable=True,
    )


def connection_failed(exc: BaseException, close_code: int) -> ConnectionLostError:
    """The loss of a connection that was closed here with `close_code` because the peer broke the WebSocket protocol."""
    advice = (
        "Raise max_size."
        if close_code == CloseCode.MESSAGE_TOO_BIG
        else "Check what lies between here and the service."
    )
    return ConnectionLostError(
        f"The peer sent what WebSocket forbids: {_plain(exc)}. {advice}",
        code="protocol",
        close_code=close_code,
        retryable=False,
    )


def http_refused(
    status: int, phrase: str, body: bytes, *, target: str, retry_after: str | None = None
) -> ConnectError:
    """The error for an HTTP answer that is no upgrade; its text holds the first 500 characters of `body`."""
    said = " ".join(body[: 4 * _LONGEST_BODY].decode("utf-8", "replace").split())
    said = f": {said[:_LONGEST_BODY].rstrip('.')}." if said else "."
    wait = f" It asks to wait {retry_after} s." if retry_after else ""
    text = f"{target} refused the connection with HTTP {status} {phrase}".rstrip() + said + wait
    if status in (401, 403):
        return AuthenticationError(f"{text} {_STATUS_ADVICE[status]}", status=status)
    if status == 429:
        return QuotaError(f"{text} {_STATUS_ADVICE[status]}", status=status)
    retryable = status in _RETRYABLE_STATUSES
    advice = "Connect again in a moment." if retryable else _STATUS_ADVICE.get(status, "Check the url.")
    return ConnectError(f"{text} {advice}", code=f"http_{status}", status=status, retryable=retryable)


def proxy_refused(status: int, phrase: str, *, target: str) -> ConnectError:
    """The error for a proxy's answer to CONNECT that is no 2xx."""
    advice = _STATUS_ADVICE[407] if status == 407 else "Check the proxy's rules, or pass proxy=None."
    return ConnectError(
        f"The proxy refused to connect to {target}: HTTP {status} {phrase}. {advice}",
        code="proxy",
        status=status,
        retryable=status in _RETRYABLE_STATUSES,
    )


def map_exception(exc: BaseException, *, target: str = "The service") -> VoiceError:
    """The `VoiceError` for an exception of `websockets`, `ssl` or `OSError`; `target` names the peer in its text.

    A `VoiceError` is returned as it is. The caller raises the result `from exc`.
    """
    if isinstance(exc, VoiceError):
        return exc
    for cls in type(exc).__mro__:
        make = _TABLE.get(cls)
        if make is not None:
            return make(exc, target)
    return VoiceError(f"{target}: {_plain(exc)}. This is a defect; please report it.", code="internal")


def _plain(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__


def _connect_error(code: str, sentence: str, *, retryable: bool) -> Callable[[Any, str], VoiceError]:
    def make(exc: BaseException, target: str) -> VoiceError:
        text = sentence.format(target=target, exc=_plain(exc))
        return ConnectError(text, code=code, retryable=retryable)

    return make


def _invalid_uri(exc: ws.InvalidURI, target: str) -> VoiceError:
    return ConfigError(
        f"url is no WebSocket address: {exc.msg}. It looks like wss://host/path?query.", option="url"
    )


def _invalid_proxy(exc: ws.InvalidProxy, target: str) -> VoiceError:
    # The address itself stays out: it may hold a password.
    return ConfigError(
        f"proxy is no proxy address: {exc.msg}. It looks like http://host:port.", option="proxy"
    )


def _invalid_status(exc: ws.InvalidStatus, target: str) -> VoiceError:
    answer: Response = exc.response
    wait = answer.headers.get_all("Retry-After")
    seconds = wait[0] if wait and wait[0].isascii() and wait[0].isdigit() else None
    return http_refused(
        answer.status_code,
        answer.reason_phrase,
        bytes(answer.body or b""),
        target=target,
        retry_after=seconds,
    )


def _invalid_message(exc: ws.InvalidMessage, target: str) -> VoiceError:
    if isinstance(exc.__cause__, EOFError):
        return ConnectError(
            f"{target} ended the connection during the WebSocket handshake. Connect again in a moment.",
            code="handshake",
            retryable=True,
        )
    why = exc.__cause__ if exc.__cause__ is not None else exc
    return ConnectError(
        f"{target} did not answer as a WebSocket server: {_plain(why)}. Check the url.",
        code="handshake",
        retryable=False,
    )


def _connection_closed(exc: ws.ConnectionClosed, target: str) -> VoiceError:
    if exc.rcvd is None:
        return connection_dropped(exc.__cause__)
    return connection_closed(exc.rcvd.code, exc.rcvd.reason)


def _timed_out(exc: TimeoutError, target: str) -> VoiceError:
    return ConnectTimeoutError(
        f"{target} did not answer in time. Check the network and the url, then connect again."
    )


def _tls_refused(exc: ssl.SSLCertVerificationError, target: str) -> VoiceError:
    why = getattr(exc, "verify_message", "") or _plain(exc)
    return ConnectError(
        f"{target} showed a certificate that cannot be verified: {why}. Check the host name in the url; for a private "
        "authority pass ssl=ssl.create_default_context(cafile=...).",
        code="tls_certificate",
        retryable=False,
    )


def _tls_failed(exc: ssl.SSLError, target: str) -> VoiceError:
    return ConnectError(
        f"TLS with {target} failed: {getattr(exc, 'reason', None) or _plain(exc)}. Check that the port speaks TLS (wss, not ws) and no "
        "middlebox is in between.",
        code="tls",
        # The stream's end in mid-handshake says nothing about the next try.
        retryable=isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError),
    )


def _broke_protocol(exc: BaseException, target: str) -> VoiceError:
    return connection_failed(exc, CloseCode.PROTOCOL_ERROR)


def _too_big(exc: BaseException, target: str) -> VoiceError:
    return connection_failed(exc, CloseCode.MESSAGE_TOO_BIG)


def _not_open(exc: BaseException, target: str) -> VoiceError:
    return NotConnectedError(f"The connection is not open ({_plain(exc)}). Connect first.")


_handshake = _connect_error(
    "handshake", "{target} did not complete the WebSocket handshake: {exc}. Check the url.", retryable=False
)
_unreachable = _connect_error(
    "connect",
    "{target} cannot be reached: {exc}. Check the network and the url, then connect again.",
    retryable=True,
)

_TABLE: dict[type[BaseException], Callable[[Any, str], VoiceError]] = {
    ws.WebSocketException: _handshake,
    ws.InvalidHandshake: _handshake,
    ws.SecurityError: _handshake,
    ws.InvalidHeader: _handshake,
    ws.NegotiationError: _handshake,
    ws.InvalidMessage: _invalid_message,
    ws.InvalidStatus: _invalid_status,
    ws.InvalidURI: _invalid_uri,
    ws.InvalidProxy: _invalid_proxy,
    ws.ProxyError: _connect_error(
        "proxy", "The proxy to {target} failed: {exc}. Check its address, or pass proxy=None.", retryable=True
    ),
    ws.ConnectionClosed: _connection_closed,
    ws.ProtocolError: _broke_protocol,
    ws.PayloadTooBig: _too_big,
    ws.InvalidState: _not_open,
    ws.ConcurrencyError: _not_open,
    ConnectionRefusedError: _connect_error(
        "refused",
        "{target} refused the connection: nothing listens there ({exc}). Check host and port.",
        retryable=True,
    ),
    socket.gaierror: _connect_error(
        "dns",
        "The name of {target} cannot be resolved: {exc}. Check the host in the url and the network.",
        retryable=True,
    ),
    ssl.SSLCertVerificationError: _tls_refused,
    ssl.SSLError: _tls_failed,
    TimeoutError: _timed_out,
    OSError: _unreachable,
}
# Classes of later releases than the oldest supported, each as its nearest kin.
for _name, _kin in (
    ("InvalidMethod", _handshake),
    ("InvalidProtocol", _handshake),
    ("TooManyFragments", _too_big),
):
    if hasattr(ws, _name):
        _TABLE[getattr(ws, _name)] = _kin
