"""The one list of checks: what a provider must do, each with an id that is never used for anything else.

    connect = family("connect")

    @connect("VV-CON-030", needs="realtime")
    async def opens(bench: Bench) -> None:
        \"\"\"`connect()` opens a session.\"\"\"

The docstring is the expectation, in one sentence. A check is a plain function: it returns, or raises `Unmet`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from vivavoce_conformance.bench import Bench

__all__ = [
    "CHECKS",
    "RETIRED",
    "SPEC_LEVEL",
    "Check",
    "CheckFunction",
    "Level",
    "NotApplicable",
    "Unmet",
    "applicable",
    "expect",
    "family",
]

SPEC_LEVEL = 1
"""The newest plugin API level that the checks know."""

Level = Literal["MUST", "SHOULD"]
CheckFunction = Callable[["Bench"], Awaitable[None]]


class Unmet(Exception):
    """The expectation is not met; the text is what was seen instead."""


class NotApplicable(Exception):
    """Against a real service or a cassette: the check asks for what only the kit's own peer can do."""


def expect(met: object, seen: str) -> None:
    """Raise `Unmet` with what was seen, unless `met`."""
    if not met:
        raise Unmet(seen)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation. `needs` are capabilities; `peer`: it needs a service that the kit plays; `over`: the transports that
    it is about, if not all; `by_ear`: over a lossy transport it compares what a listener would notice, not bits."""

    id: str
    family: str
    sentence: str
    function: Any
    level: Level = "MUST"
    needs: frozenset[str] = frozenset()
    any_of: frozenset[str] = frozenset()
    peer: bool = False
    since: int = 1
    over: frozenset[str] = frozenset()
    by_ear: bool = False

    @property
    def anchor(self) -> str:
        """Where the check is described."""
        return f"docs/reference/conformance-checks.md#{self.id.lower()}"


CHECKS: dict[str, Check] = {}
"""Every check by its id, in order. Filled by importing `vivavoce_conformance.checks`."""


RETIRED: dict[str, str] = {}
"""Ids of checks that are no more, and what they were: none of them is given again."""


def family(name: str) -> Callable[..., Callable[[CheckFunction], CheckFunction]]:
    """A decorator factory that registers checks of one family."""

    def numbered(
        id: str,
        *,
        needs: str = "",
        any_of: str = "",
        peer: bool = False,
        level: Level = "MUST",
        since: int = 1,
        over: str = "",
        by_ear: bool = False,
    ) -> Callable[[CheckFunction], CheckFunction]:
        def register(function: CheckFunction) -> CheckFunction:
            if id in CHECKS or id in RETIRED:
                was = RETIRED.get(id) or CHECKS[id].sentence
                raise ValueError(f"{id} is taken by {was!r}: ids are never used twice")
            sentence = " ".join((function.__doc__ or "").split())
            CHECKS[id] = Check(
                id=id,
                family=name,
                sentence=sentence,
                function=function,
                level=level,
                needs=frozenset(needs.split()),
                any_of=frozenset(any_of.split()),
                peer=peer,
                since=since,
                over=frozenset(over.split()),
                by_ear=by_ear,
            )
            return function

        return register

    return numbered


def applicable(capabilities: Iterable[str], *, has_peer: bool, transport: str = "") -> list[Check]:
    """The checks that hold for a provider with these capabilities over this transport, in the order of their ids."""
    stated = frozenset(capabilities)
    return [
        check
        for _, check in sorted(CHECKS.items())
        if check.needs <= stated
        and (not check.any_of or check.any_of & stated)
        and (has_peer or not check.peer)
        and (not check.over or transport in check.over)
    ]
