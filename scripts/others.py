"""Judges implementations that are not ours, behind thin adapters: the kit's failures must be theirs, and stay the same.

    make test-others

Each gets an environment of its own under .cache/others, with the core and the kit from this repository. A failure that
is not listed here, or one that is listed and passes, fails the run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "others"
ADAPTERS = ROOT / "tests" / "others"
OURS = ("core[cli]", "plugins/null_provider", "plugins/openai_realtime", "plugins/conformance_kit")


@dataclass(frozen=True)
class Other:
    """An implementation: its package, its adapter, and the checks that it fails, with what was found in its source."""

    name: str
    package: str
    module: str
    provider: str
    fails: dict[str, str]


OTHERS = (
    Other(
        "openai-agents",
        "openai-agents>=0.24,<0.25",
        "agents_provider",
        "AgentsProvider",
        {
            "VV-CON-031": "enter() returns when session.update is sent, not when it is acknowledged",
            "VV-CON-034": "so it succeeds with a service that never says a word",
            "VV-CON-036": "a refused key is the WebSocket library's InvalidStatus, as every refusal",
            "VV-CON-037": "and a quota",
            "VV-CON-038": "and a service that is broken for now",
            "VV-CON-041": "it succeeds although the service drops the connection while it is configured",
            "VV-CON-063": "update_agent() returns when session.update is sent",
            "VV-CON-085": "one malformed message ends the session",
            "VV-CON-086": "a message of an unknown type is told as an error",
            "VV-CON-092": "close() waits ten seconds for a service that has fallen silent",
            "VV-CON-130": "interrupt() does not cancel the reply while turn detection would",
            "VV-CON-132": "so the interrupted reply runs on",
            "VV-CON-160": "the WebSocket library's DEBUG log holds the Authorization header",
        },
    ),
)


def main() -> int:
    """Judge them all."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return max(judge(other) for other in OTHERS)


def judge(other: Other) -> int:
    """Judge one, and compare; 0 if it fails what is listed and nothing else."""
    report = run(install(other), other)
    seen = {r["id"]: r.get("seen", "") for r in report["results"] if r["status"] == "failed"}
    passed = sum(r["status"] == "passed" for r in report["results"])
    print(f"others: {other.name}: {passed} passed, {len(seen)} failed, {report['seconds']:g} s")
    for id in sorted(seen.keys() & other.fails.keys()):
        print(f"  {id}  {other.fails[id]}")
    unexpected = {id: text for id, text in seen.items() if id not in other.fails}
    for id, text in unexpected.items():
        print(f"  {id}  not listed: {' '.join(text.split())[:200]}")
    mended = sorted(other.fails.keys() - seen.keys())
    for id in mended:
        print(f"  {id}  listed, but it passes")
    return int(bool(unexpected or mended))


def install(other: Other) -> Path:
    """Its environment; the second run finds it there."""
    home = CACHE / other.name
    python = home / "bin" / "python"
    stamp = home / ".installed"
    wanted = " ".join([other.package, *OURS])
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"others: installing {other.package}", flush=True)
        editable = [part for path in OURS for part in ("-e", str(ROOT / path))]
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        if Path(uv).exists():
            quietly(uv, "venv", "-q", "--clear", str(home))
            quietly(uv, "pip", "install", "-q", "--python", str(python), other.package, *editable)
        else:
            quietly(sys.executable, "-m", "venv", "--clear", str(home))
            quietly(str(python), "-m", "pip", "install", "-q", other.package, *editable)
        stamp.write_text(wanted)
    return python


def quietly(*command: str) -> None:
    """Run a step of an installation; raises if it fails."""
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def run(python: Path, other: Other) -> dict[str, Any]:
    """Its report."""
    command = [str(python), "-m", "vivavoce", "conformance", f"{other.module}:{other.provider}", "--json"]
    command += ["--profile", f"{other.module}:PROFILE"]
    environment = {**os.environ, "PYTHONPATH": str(ADAPTERS)}
    done = subprocess.run(
        command, env=environment, cwd=CACHE, capture_output=True, text=True, check=False, timeout=600
    )
    if not done.stdout.startswith("{"):
        raise SystemExit(f"others: {other.name} could not be judged: {done.stderr.strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


if __name__ == "__main__":
    raise SystemExit(main())
