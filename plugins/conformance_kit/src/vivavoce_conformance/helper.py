"""The one-line test of a plugin's own suite."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vivavoce_conformance.judging import judge
from vivavoce_conformance.verdict import Report, Waiver

__all__ = ["assert_conformant", "describe_failures"]


def assert_conformant(
    provider: str, *, profile: str | None = None, waivers: str | os.PathLike[str] | Sequence[Waiver] = ()
) -> Report:
    """Judge a provider, by its name or as `module:Class`, and raise `AssertionError` unless it is conformant.

    It runs in processes of its own, so nothing of the calling test reaches it. `waivers`: a TOML file, or values.
    Takes up to half a minute. Not for a running event loop: call it from a plain test.
    """
    from vivavoce_conformance.waivers import read_waivers

    known = read_waivers(Path(waivers)) if isinstance(waivers, (str, os.PathLike)) else waivers
    report = judge(provider, profile=profile, waivers=known)
    if not report.conformant:
        raise AssertionError(f"{report.provider}: {report.verdict}\n{describe_failures(report)}")
    return report


def describe_failures(report: Report) -> str:
    """What failed, what was seen, the last frames, and how to run it again."""
    lines = []
    for result in report.results:
        if result.status in ("failed", "not-run"):
            lines += [
                f"{result.id} {result.level} {result.status}: {result.sentence}",
                f"  seen:  {result.seen}",
            ]
            lines += [f"  wire:  {frame}" for frame in result.wire[-6:]]
            lines += [f"  rerun: {result.rerun}"] if result.rerun else []
    return "\n".join(lines)
