"""Waivers: failures that the author knows of, each with a reason and a date."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

from vivavoce.errors import ConfigError

from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.verdict import Waiver

__all__ = ["read_waivers"]


def read_waivers(path: Path) -> list[Waiver]:
    """The waivers of a TOML file: `[VV-CON-083]` with `reason` and `until` (a date). Raises `ConfigError`."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as bad:
        raise ConfigError(f"{path}: {bad}") from bad
    return [_waiver(path, id, table) for id, table in tables.items()]


def _waiver(path: Path, id: str, table: Any) -> Waiver:
    if id not in CHECKS:
        raise ConfigError(f"{path}: no check is named {id}; `vivavoce conformance --list` names them")
    reason = table.get("reason") if isinstance(table, dict) else None
    until = table.get("until") if isinstance(table, dict) else None
    if not isinstance(reason, str) or len(reason.strip()) < 10:
        raise ConfigError(f"{path}: [{id}] needs a `reason` of some words")
    if type(until) is not date:  # a time of day is a date too, and cannot be compared
        raise ConfigError(f"{path}: [{id}] needs `until`, a date such as 2027-01-31")
    if until < date.today():
        raise ConfigError(f"{path}: [{id}] ended on {until}: repair what it waives, or give it a new date")
    return Waiver(id, reason.strip(), until)
