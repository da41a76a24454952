"""The words of a session's errors, each with the next step."""

from __future__ import annotations

from vivavoce.errors import (
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    NotConnectedError,
    VoiceError,
)
from vivavoce.reconnect import may_retry
from vivavoce.redaction import without_secrets

__all__ = [
    "REQUEST_DEADLINE",
    "closed",
    "connect_late",
    "late",
    "lost",
    "lost_while_dialling",
    "not_connected",
    "odd_result",
    "refused",
    "typed",
]

REQUEST_DEADLINE = 30.0
"""Seconds a provider has for one request."""


def closed(provider: str, session_id: str | None) -> NotConnectedError:
    """What a call raises that was pending when the voice was closed."""
    text = "the voice was closed while this call was pending"
    return NotConnectedError(text, code="closed", provider=provider, session_id=session_id)


def not_connected(provider: str, method: str, state: str) -> NotConnectedError:
    """What a realtime call raises without a session."""
    text = f"{method}() needs a session: `await voice.connect()` first (state: {state})"
    return NotConnectedError(text, provider=provider)


def late(provider: str, method: str, session_id: str | None, deadline: float) -> VoiceError:
    """A provider did not finish a request within `deadline` seconds."""
    text = f"provider {provider!r} did not finish {method}() within {deadline:g} s"
    return VoiceError(text, code="timeout", provider=provider, session_id=session_id, retryable=True)


def connect_late(provider: str, timeout: float) -> ConnectTimeoutError:
    """`connect()` ran out of its budget of `timeout` seconds."""
    return ConnectTimeoutError(
        f"no session with {provider!r} within {timeout * 1000:.10g} ms: "
        "check the network and the url, or give connect() a longer timeout",
        provider=provider,
    )


def lost_while_dialling(provider: str, cause: BaseException | None) -> ConnectError:
    """The connection was lost before the session was ready."""
    if isinstance(cause, ConnectError):
        return cause
    text = f"the connection ended before the session was ready: {cause or 'no reason given'}"
    close_code = getattr(cause, "close_code", None)
    return ConnectError(text, provider=provider, retryable=may_retry(cause), close_code=close_code)


def lost(provider: str, cause: BaseException | None, session_id: str | None) -> ConnectionLostError:
    """The session ended, by `cause`."""
    code = getattr(cause, "code", None)
    return ConnectionLostError(
        f"the session ended: {cause or 'no reason given'}",
        code=code if isinstance(code, str) else None,
        provider=provider,
        session_id=session_id,
        retryable=may_retry(cause),
        close_code=getattr(cause, "close_code", None),
    )


def typed(provider: str, failed: BaseException) -> BaseException:
    """What a provider's `connect` raised, as an error of ours; a cancellation passes."""
    if isinstance(failed, VoiceError):
        failed.provider = failed.provider or provider
        return without_secrets(failed)
    if isinstance(failed, OSError):
        text = f"cannot reach {provider!r}: {failed or type(failed).__name__}"
        return _caused(ConnectError(text, provider=provider), failed)
    if isinstance(failed, Exception):
        text = f"provider {provider!r} raised {type(failed).__name__} in connect: {failed}"
        error = ConnectError(text, code="provider_bug", provider=provider, retryable=False)
        return _caused(error, failed)
    return failed


def refused(provider: str, method: str, failed: Exception, session_id: str | None) -> VoiceError:
    """What a provider raised for a request, as an error of ours."""
    error: VoiceError
    if isinstance(failed, VoiceError):
        error = failed
    elif isinstance(failed, ConnectionError):
        error = ConnectionLostError(f"{method}() of provider {provider!r} found no connection: {failed}")
    else:
        text = f"{type(failed).__name__} in {method}() of provider {provider!r} or of a wrapper: {failed}"
        error = VoiceError(text, code="provider_bug")
    error.provider, error.session_id = error.provider or provider, error.session_id or session_id
    if error is not failed:
        error.__cause__ = failed
    without_secrets(error)
    return error


def odd_result(provider: str, hook: str, result: object, wanted: str) -> VoiceError:
    """A hook returned what it must not."""
    text = f"provider {provider!r} returned a {type(result).__name__} from {hook}: it must return {wanted}"
    return VoiceError(text, code="provider_bug", provider=provider)


def _caused(error: VoiceError, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return without_secrets(error)
