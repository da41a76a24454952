"""Reports as files: JSON with a version."""

from __future__ import annotations

from pathlib import Path

import msgspec
from vivavoce.errors import ConfigError

from vivavoce_conformance.verdict import REPORT_VERSION, Report

__all__ = ["REPORT_NAME", "read_report", "write_report"]

REPORT_NAME = "{}.conformance.json"


def write_report(path: Path, report: Report) -> None:
    """Write a report for people and programs."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read_report(path: Path) -> Report:
    """Read a report. Raises `ConfigError` for one that this version does not understand."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as bad:
        raise ConfigError(f"{path} is no report of the conformance kit: {bad}") from bad
    if report.version > REPORT_VERSION:
        raise ConfigError(
            f"{path} has version {report.version}; this kit reads up to {REPORT_VERSION}: upgrade it"
        )
    return report
