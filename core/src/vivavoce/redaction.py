"""Keeps keys out of every text: errors, logs, traces, recordings.

Two nets: the shapes keys are known to have, and the very values this process was given as
credentials. Both replace the key by `[redacted]`.
"""

from __future__ import annotations

import re
from collections import OrderedDict

__all__ = ["redact", "remember_secret"]

REDACTED = "[redacted]"
_SHAPES = re.compile(
    r"""\b(?:sk|ek|rk|pk|xai)[-_][A-Za-z0-9_\-*.]{6,}"""  # provider keys, also half-masked ones
    r"""|(?<=[Bb]earer\s)[^\s"',;]+"""
    r"""|(?<=[Bb]asic\s)[A-Za-z0-9+/=]{8,}"""
    r"""|(?<=api-key[=:])\s?[^\s"'&,;]+"""
    r"""|(?<=api_key[=:])\s?[^\s"'&,;]+"""
    r"""|(?<=insecure-api-key\.)[^\s"',;]+"""
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
    return _SHAPES.sub(REDACTED, text)
