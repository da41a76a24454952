"""One tree of errors.

    VoiceError
     +-- ConfigError            (ValueError)            a bad option, or a credential that is missing
     +-- ProviderNotFoundError  (LookupError)           no installed provider has that name
     +-- ProviderLoadError                              an installed provider cannot be used
     +-- ConnectError           (ConnectionError)       connect() failed
     |    +-- ConnectTimeoutError (TimeoutError)        ... its time budget ran out
     |    +-- AuthenticationError                       ... the service refused the credential
     |    +-- QuotaError                                ... the account may not, or not now
     +-- NotConnectedError      (RuntimeError)          a realtime call before connect() or after close()
     +-- ConnectionLostError    (ConnectionError)       the session ended and was not restored
     +-- ProviderError                                  the service refused a request
     +-- ProtocolError                                  the peer sent what its protocol forbids
     +-- UnsupportedError       (NotImplementedError)   strict mode: the provider cannot do this
     +-- AudioError             (ValueError)            audio that cannot be used

Every text passes through `redact`, so no error ever holds a key.
"""

from __future__ import annotations

from typing import ClassVar

from vivavoce.redaction import redact

__all__ = [
    "AudioError",
    "AuthenticationError",
    "ConfigError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "NotConnectedError",
    "ProtocolError",
    "ProviderError",
    "ProviderLoadError",
    "ProviderNotFoundError",
    "QuotaError",
    "UnsupportedError",
    "VoiceError",
]


class VoiceError(Exception):
    """The base of every error of vivavoce, and the payload of the `error` event.

    `code` is a short stable word (a service's own code where it gave one), `provider` the provider's name,
    `session_id` the session it belongs to, `retryable` whether the same call may succeed later unchanged.
    """

    default_code: ClassVar[str] = "error"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        provider: str | None = None,
        session_id: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        self.message = redact(message)
        super().__init__(self.message)
        self.code = redact(code) if code else self.default_code
        self.provider = provider
        self.session_id = session_id
        self.retryable = self.default_retryable if retryable is None else retryable

    def __str__(self) -> str:
        return self.message


class ConfigError(VoiceError, ValueError):
    """An unknown or bad option, or a missing credential (the text names the variable). `option` is its name."""

    default_code = "config"

    def __init__(
        self, message: str, *, option: str | None = None, code: str | None = None, provider: str | None = None
    ) -> None:
        super().__init__(message, code=code, provider=provider)
        self.option = option


class ProviderNotFoundError(VoiceError, LookupError):
    """No installed provider has that name; the text lists what is installed and how to install one."""

    default_code = "provider_not_found"


class ProviderLoadError(VoiceError):
    """An installed provider cannot be used; the text names distribution, version and entry point."""

    default_code = "provider_load"


class ConnectError(VoiceError, ConnectionError):
    """`connect()` failed. `status` is an HTTP status, `close_code` a WebSocket close code, where there was one."""

    default_code = "connect"
    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        provider: str | None = None,
        session_id: str | None = None,
        retryable: bool | None = None,
        status: int | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message, code=code, provider=provider, session_id=session_id, retryable=retryable)
        self.status = status
        self.close_code = close_code


class ConnectTimeoutError(ConnectError, TimeoutError):
    """The time budget of `connect()` ran out; the text says in which phase."""

    default_code = "connect_timeout"


class AuthenticationError(ConnectError):
    """The service refused the credential. Final: never retried."""

    default_code = "authentication"
    default_retryable = False


class QuotaError(ConnectError):
    """The account has no quota, is deactivated, or is over its rate. Final while reconnecting."""

    default_code = "quota"
    default_retryable = False


class NotConnectedError(VoiceError, RuntimeError):
    """A realtime call before `connect()`, or pending when the voice was closed (`code` is then `closed`)."""

    default_code = "not_connected"


class ConnectionLostError(VoiceError, ConnectionError):
    """The peer ended the session and it was not restored; pending calls raise it."""

    default_code = "connection_lost"
    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        provider: str | None = None,
        session_id: str | None = None,
        retryable: bool | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message, code=code, provider=provider, session_id=session_id, retryable=retryable)
        self.close_code = close_code


class ProviderError(VoiceError):
    """The service refused a request: its `code`, `message`, `param`, and the `event_id` of the request."""

    default_code = "provider"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        provider: str | None = None,
        session_id: str | None = None,
        retryable: bool | None = None,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, provider=provider, session_id=session_id, retryable=retryable)
        self.param = redact(param) if param else param
        self.event_id = event_id


class ProtocolError(VoiceError):
    """The peer sent what its protocol forbids."""

    default_code = "protocol"


class UnsupportedError(VoiceError, NotImplementedError):
    """Strict mode: the provider has no capability for this call."""

    default_code = "unsupported"


class AudioError(VoiceError, ValueError):
    """Audio that cannot be used: odd bytes at the end, a wrong rate, an unreadable file."""

    default_code = "audio"
