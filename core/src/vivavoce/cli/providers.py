"""`vivavoce providers`: what is installed, what it can do, and what it lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs
import click

from vivavoce import registry
from vivavoce.cli.console import debug_option, json_option, print_json, print_table
from vivavoce.cli.probe import Probe, probe
from vivavoce.cli.tier import Proof, find_proof
from vivavoce.errors import VoiceError

__all__ = ["Listed", "list_providers", "providers"]


@attrs.frozen
class Listed:
    """One installed provider. `problem` is why it cannot be used, in one line; `probed` is whether it was imported;
    `proof` is the report that lies beside it."""

    name: str
    distribution: str
    version: str
    default: bool
    allowed: bool
    probed: bool
    capabilities: tuple[str, ...] = ()
    credentials: Mapping[str, str] = attrs.field(factory=dict)
    problem: str | None = None
    proof: Proof | None = None

    @property
    def missing(self) -> list[str]:
        """The environment variables that are not set."""
        return [name for name in self.credentials.values() if not os.environ.get(name, "").strip()]

    def as_json(self) -> dict[str, Any]:
        shown = attrs.asdict(self, recurse=False)
        shown["conformance"] = self.proof.as_json() if self.proof is not None else None
        del shown["proof"]
        shown["credentials"] = {
            variable: "missing" if variable in self.missing else "present"
            for variable in self.credentials.values()
        }
        return shown


def list_providers(*, imported: bool = True) -> list[Listed]:
    """Every installed provider; with `imported`, each is loaded in another process to learn what it can do."""
    found = registry.entries()
    allowed = {entry.name for entry in registry.allowed(found)}
    problems: dict[str, str] = {}
    for entry in found:
        try:
            registry.find(entry.name)
        except VoiceError as bad:
            problems[entry.name] = str(bad)
    usable = [entry.name for entry in found if entry.name not in problems]
    probes = probe(usable) if imported else {}
    default = registry.normalize(os.environ.get("VIVAVOCE_PROVIDER", ""))
    listed = []
    for entry in found:
        result = probes.get(entry.name, Probe(entry.name))
        listed.append(
            Listed(
                entry.name,
                entry.distribution,
                entry.version,
                registry.normalize(entry.name) == default,
                entry.name in allowed,
                entry.name in probes,
                result.capabilities,
                result.credentials,
                problems.get(entry.name) or result.error,
                find_proof(entry),
            )
        )
    return listed


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--no-import", is_flag=True, help="Only what the metadata says: imports none of them.")
@json_option
@debug_option
def providers(no_import: bool, as_json: bool) -> None:
    """List the installed providers: what each can do, and whether its credentials are there.

    Names and versions come from metadata. What a provider can do is learnt by importing it, in a process of its own
    and within 10 seconds, so that a broken one harms neither the list nor the others. TIER is that of the conformance
    report which lies beside a provider, if there is one.
    """
    listed = list_providers(imported=not no_import)
    if as_json:
        print_json([entry.as_json() for entry in listed])
        return
    headings = ["NAME", "DISTRIBUTION", "CAN", "CREDENTIALS"]
    rows = [_row(entry) for entry in listed]
    if any(entry.proof is not None for entry in listed):
        headings.append("TIER")
        rows = [[*row, str(entry.proof or "")] for row, entry in zip(rows, listed, strict=True)]
    print_table(headings, rows)
    for entry in listed:
        if entry.problem is not None:
            click.echo(f"{entry.name}: {entry.problem}")


def _row(entry: Listed) -> list[str]:
    name = f"{entry.name} (default)" if entry.default else entry.name
    distribution = f"{entry.distribution} {entry.version}"
    if entry.problem is not None:
        return [name, distribution, "broken" if entry.allowed else "not allowed", ""]
    if not entry.probed:
        return [name, distribution, "?", "?"]
    lacking = ", ".join(f"{variable} missing" for variable in entry.missing)
    there = "present" if entry.credentials else "none needed"
    return [name, distribution, " ".join(entry.capabilities) or "nothing (only warns)", lacking or there]
