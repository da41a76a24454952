"""Keeps keys out of every text: errors, logs, traces, recordings.

Two nets: the shapes keys are known to have, and the very values this process was given as
credentials. Both replace the key by `[redacted]`.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict

__all__ = ["get_logger", "redact", "remember_secret", "without_secrets"]

REDACTED = "[redacted]"
_SHAPES = re.compile(
    r"""(?P<keep>)\b(?:sk|ek|rk|pk|xai)[-_][A-Za-z0-9_\-*.]{6,}"""  # provider keys, also half-masked ones
    r"""|(?P<scheme>(?i:bearer|basic)\s)[^\s"',;]{8,}"""
    r"""|(?P<name>(?i:api[-_]?key|[?&;]key|token|secret)["']?\s?[=:]\s?["']?)[^\s"'&,;}]{6,}"""
    r"""|(?P<word>insecure-api-key\.)[^\s"',;]+"""
    r"""|(?P<url>://)[^\s/@:]*:[^\s/@]+(?=@)"""
)
# Shorter values would erase ordinary words; the shapes above still cover them.
_SHORTEST = 8
_MOST = 1024
_known: OrderedDict[str, None] = OrderedDict()


def remember_secret(value: str) -> None:
    """Redact `value` in every text from now on. Values under 8 characters are not kept; of the rest the newest 1,024."""
    if len(value) < _SHORTEST:
        return
    _known[value] = None
    _known.move_to_end(value)
    if len(_known) > _MOST:
        _known.popitem(last=False)


def redact(text: str) -> str:
    """Return `text` with every known or key-shaped secret replaced by `[redacted]`."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, REDACTED)
    return _SHAPES.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    return (found[found.lastgroup] if found.lastgroup else "") + REDACTED


class _Shown(Exception):
    """Stands in a chain of causes for a foreign exception whose text holds a key."""


def without_secrets(error: BaseException) -> BaseException:
    """`error` itself; what it was caused by is replaced where its text holds a key, so that a traceback shows none."""
    seen: set[int] = set()
    node: BaseException | None = error
    while node is not None and id(node) not in seen:
        seen.add(id(node))
        suppressed = node.__suppress_context__
        node.__cause__, node.__context__ = _shown(node.__cause__), _shown(node.__context__)
        node.__suppress_context__ = suppressed
        node = node.__cause__ or node.__context__
    return error


def _shown(error: BaseException | None) -> BaseException | None:
    if error is None:
        return None
    text, told = str(error), repr(error)
    if redact(text) == text and redact(told) == told:
        return error
    shown = _Shown(f"{type(error).__qualname__}: {redact(text)}").with_traceback(error.__traceback__)
    shown.__cause__, shown.__context__ = error.__cause__, error.__context__
    shown.__suppress_context__ = error.__suppress_context__
    return shown


class _Redacting(logging.Filter):
    """Redacts message and traceback: what a provider, a tool or a listener raises may hold a key."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = redact(message)
        if shown != message:
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(_formatter.formatException(record.exc_info))
        return True


_formatter = logging.Formatter()
_redacting = _Redacting()


def get_logger(name: str) -> logging.Logger:
    """The logger of this name; what it logs has no keys in it."""
    logger = logging.getLogger(name)
    logger.addFilter(_redacting)
    return logger
