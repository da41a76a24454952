"""What the service refuses, as errors of ours: one request, or the whole session."""

from __future__ import annotations

from vivavoce.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    ProviderError,
    QuotaError,
    VoiceError,
)

from vivavoce_openai_realtime.protocol.values import ErrorDetail, given

__all__ = ["fatal", "not_ready", "refusal"]

_AUTHENTICATION = frozenset(
    {
        "invalid_api_key",
        "invalid_authentication",
        "authentication_error",
        "unauthorized",
        "incorrect_api_key",
        "expired_api_key",
    }
)
_QUOTA = frozenset(
    {
        "insufficient_quota",
        "account_deactivated",
        "billing_hard_limit_reached",
        "billing_not_active",
        "quota_exceeded",
    }
)
_REFUSED_KEY = 3000
"""The close code after a key that the service does not take."""


def refusal(detail: ErrorDetail) -> ProviderError:
    """A refused request, in the service's words."""
    return ProviderError(
        given(detail.message) or f"the service refused a request ({given(detail.code) or 'no code'})",
        code=given(detail.code) or given(detail.type),
        param=given(detail.param),
        event_id=given(detail.event_id),
    )


def fatal(detail: ErrorDetail, cause: ConnectionLostError | None = None) -> VoiceError:
    """An error that ended the session, or kept it from beginning; `cause` is the close that followed it."""
    close_code = cause.close_code if cause is not None else None
    code = given(detail.code) or given(detail.type) or "connect"
    text = f"{given(detail.message) or 'the service ended the session'} ({code})"
    if code in _AUTHENTICATION or close_code == _REFUSED_KEY:
        return AuthenticationError(f"{text}; check the API key", code=code, close_code=close_code)
    if code in _QUOTA or code.startswith("rate_limit"):
        return QuotaError(f"{text}; check the account's plan and limits", code=code, close_code=close_code)
    # A request that is wrong stays wrong; a service that is in trouble may recover.
    final = cause is None or not cause.retryable or given(detail.type) == "invalid_request_error"
    return ConnectError(
        text, code=code, close_code=close_code, retryable=code == "session_expired" or not final
    )


def not_ready(cause: ConnectionLostError) -> ConnectError:
    """A connection that ended, without a word of the service, before there was a session."""
    text = f"the service closed the connection before the session was ready: {cause}"
    if cause.close_code == _REFUSED_KEY:
        return AuthenticationError(f"{text}; check the API key", close_code=cause.close_code)
    return ConnectError(text, code=cause.code, close_code=cause.close_code, retryable=cause.retryable)
