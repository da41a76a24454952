"""The reference page of all checks, made from the registry."""

from __future__ import annotations

from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.registry import Check

__all__ = ["as_markdown"]

_HEAD = """# Conformance checks

Every check of `vivavoce conformance`, made from its registry: do not edit. An id is never used for another check. A MUST
holds for every provider that declares what the check needs; a SHOULD is needed for gold. See
[how to use the kit](../how-to/conformance.md). Over WebRTC audio passes a codec, and nothing can arrive bit by bit: there, a check
that says "by ear" compares the tones that are heard, their order, how long they last and how loud they are.

"""


def as_markdown() -> str:
    """The page, a heading a check."""
    parts = [_HEAD]
    family = ""
    for id, check in sorted(CHECKS.items()):
        if check.family != family:
            family = check.family
            parts.append(f"## {family[0].upper()}{family[1:]}\n\n")
        parts.append(f"### {id}\n\n{check.sentence}\n\n{_conditions(check)}\n\n")
    return "".join(parts).rstrip() + "\n"


def _conditions(check: Check) -> str:
    needs = [f"`{name}`" for name in sorted(check.needs)]
    if check.any_of:
        needs.append(" or ".join(f"`{name}`" for name in sorted(check.any_of)))
    words = [check.level, f"needs {', '.join(needs)}" if needs else "for every provider"]
    if check.peer:
        words.append("for providers with a service")
    if check.over:
        words.append(f"over {' or '.join(sorted(check.over))}")
    if check.by_ear:
        words.append("by ear over WebRTC")
    return f"{'; '.join(words)}; since API level {check.since}."
