"""Makes the environment that a make target needs, once; the second time it only looks at a stamp.

    sh scripts/setup.sh demo|test|check|docs|dist

Uses `uv` where there is one, puts one into the environment where there is none, and falls back to pip
where even that fails. What cannot be installed and can be done without is named in one line.
Needs nothing but the standard library. `VENV` names the directory of the environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / os.environ.get("VENV", ".venv")
LOG = ROOT / ".cache" / "setup.log"
CONSTRAINTS = ROOT / "constraints.txt"
# The store the system trusts, for networks with a certificate authority of their own.
SYSTEM_CERTIFICATES = [Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt")]


@dataclass(frozen=True)
class Tier:
    """What one make target needs: extras by member (`None`: every extra of every member) and groups of the root."""

    extras: dict[str, list[str]] | None = None
    groups: list[str] = field(default_factory=list)
    covers: list[str] = field(default_factory=list)


DEMO = {
    "core": ["files", "cli", "plot"],
    "plugins/null_provider": [],
    "plugins/openai_realtime": [],
    "plugins/gateway": [],
    "plugins/local_provider": ["pocketsphinx", "pico", "chat"],
}
TIERS = {
    "demo": Tier(DEMO),
    "test": Tier(None, ["test"], ["demo"]),
    "check": Tier(None, ["test", "lint"], ["test", "demo"]),
    "docs": Tier(DEMO, ["docs"], ["demo"]),
    "dist": Tier({}, ["dist"]),
}
# Speech engines: real features, but everything else works without them.
ENGINES = {("plugins/local_provider", "pocketsphinx"), ("plugins/local_provider", "pico")}
# Of these, the ones that come as source and are compiled here.
COMPILED = {("plugins/local_provider", "pico"): "ttspico"}


class SetupError(Exception):
    """What the person at the terminal reads; one line."""


def main() -> int:
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in TIERS:
        print(f"setup: say which of: {' '.join(TIERS)}", file=sys.stderr)
        return 2
    LOG.parent.mkdir(exist_ok=True)
    with (LOG.parent / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            make_ready(name)
        except SetupError as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
    return 0


def make_ready(name: str) -> None:
    """Bring the environment up to what tier `name` needs, or raise `SetupError`."""
    missing_compiler = find_missing_compiler()
    fingerprint = compute_fingerprint(missing_compiler)
    if is_ready(name, fingerprint):
        report_missing(missing_compiler, name)
        return
    make_environment()
    report_missing(missing_compiler, name)
    complete = install(name, without_compiler=missing_compiler is not None)
    compile_sources()
    if complete:
        stamp(name).write_text(fingerprint)


def compile_sources() -> None:
    """Neither uv nor an editable install does it, and where Python may not write bytecode every start would."""
    sources = [str(manifest.parent / "src") for manifest in manifests()]
    run([str(VENV / "bin" / "python"), "-m", "compileall", "-q", *sources])


def is_ready(name: str, fingerprint: str) -> bool:
    if not (VENV / "bin" / "python").exists():
        return False
    covering = [name, *(other for other, tier in TIERS.items() if name in tier.covers)]
    return any(stamp(each).is_file() and stamp(each).read_text() == fingerprint for each in covering)


def stamp(name: str) -> Path:
    return VENV / f".ready-{name}"


def compute_fingerprint(missing_compiler: str | None) -> str:
    """Everything the content of the environment depends on; the place counts, as editable installs hold it."""
    digest = hashlib.sha256(f"{ROOT}\n{missing_compiler}\n".encode())
    for path in [ROOT / "pyproject.toml", *manifests(), CONSTRAINTS, Path(__file__)]:
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def manifests() -> list[Path]:
    return [ROOT / "core" / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]


def find_missing_compiler() -> str | None:
    """One line that says what the compiled engines lack here, or `None`."""
    if all(any(VENV.glob(f"lib/python*/site-packages/{package}*")) for package in COMPILED.values()):
        return None
    compiler = next(filter(shutil.which, [os.environ.get("CC") or "cc", "gcc", "clang"]), None)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    lacking = [
        what for what, there in (("a C compiler", compiler), ("Python.h", headers.exists())) if not there
    ]
    if not lacking:
        return None
    return (
        f"no {' and no '.join(lacking)}, so the `pico` voice is left out: Debian `apt install gcc python3-dev`, "
        "Fedora `dnf install gcc python3-devel`, macOS `xcode-select --install`; then run this again"
    )


def report_missing(missing_compiler: str | None, name: str) -> None:
    if missing_compiler and any(
        extra in ("pico",) for extra in wanted(name).get("plugins/local_provider", [])
    ):
        print(f"setup: {missing_compiler}", file=sys.stderr)


def make_environment() -> None:
    """Make the virtual environment, unless there is a working one that was made for this very directory."""
    place = VENV / ".made-for"
    if place.is_file() and place.read_text() == str(ROOT) and runs(VENV / "bin" / "python"):
        return
    if VENV.exists():
        shutil.rmtree(VENV)
    say(f"environment {VENV.name} with Python {sys.version.split()[0]}")
    uv = shutil.which("uv")
    base = getattr(sys, "_base_executable", None) or sys.executable
    if uv:
        made = run([uv, "venv", "--python", base, str(VENV)])
    else:
        made = run([base, "-m", "venv", str(VENV)])
        if made and not run([str(VENV / "bin" / "python"), "-m", "pip", "install", *pip_options(), "uv"]):
            say("uv could not be installed; going on with pip, which is slower")
    if not made:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(
            f"cannot make a virtual environment (see {LOG.relative_to(ROOT)}): "
            "install uv, or on Debian `apt install python3-venv`, then run this again"
        )
    place.write_text(str(ROOT))


def runs(python: Path) -> bool:
    return (
        python.exists()
        and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    )


def install(name: str, *, without_compiler: bool) -> bool:
    """Install tier `name`; whether nothing is missing that another attempt could bring."""
    members, groups = wanted(name), read_groups(TIERS[name].groups)
    if without_compiler:
        members = {
            member: [e for e in extras if (member, e) not in COMPILED] for member, extras in members.items()
        }
    say(f"packages for `{name}` (the first time this takes up to two minutes)")
    if try_install(as_arguments(members) + groups):
        return True
    engines = [
        (member, extra)
        for member, extras in members.items()
        for extra in extras
        if (member, extra) in ENGINES
    ]
    plain = {member: [e for e in extras if (member, e) not in ENGINES] for member, extras in members.items()}
    if not engines or not try_install(as_arguments(plain) + groups):
        raise SetupError(
            f"packages could not be installed: {last_line()} (all of it: {LOG.relative_to(ROOT)})"
        )
    failed = [extra for member, extra in engines if not try_install(as_arguments({**plain, member: [extra]}))]
    for extra in failed:
        print(
            f"setup: the `{extra}` engine could not be installed and is left out ({last_line()})",
            file=sys.stderr,
        )
    return not failed


def wanted(name: str) -> dict[str, list[str]]:
    """Members with their extras, every one that exists; `all` is left out, as it only repeats the others."""
    chosen = TIERS[name].extras
    found: dict[str, list[str]] = {}
    for manifest in manifests():
        member = manifest.parent.relative_to(ROOT).as_posix()
        declared = tomllib.loads(manifest.read_text())["project"].get("optional-dependencies", {})
        if chosen is None:
            found[member] = [extra for extra in declared if extra != "all"]
        elif member in chosen:
            found[member] = [extra for extra in chosen[member] if extra in declared]
    return found


def read_groups(names: list[str]) -> list[str]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return [requirement for name in names for requirement in groups[name]]


def as_arguments(members: dict[str, list[str]]) -> list[str]:
    names = [
        f"./{member}" + (f"[{','.join(extras)}]" if extras else "") for member, extras in members.items()
    ]
    return [part for name in names for part in ("-e", name)]


def try_install(arguments: list[str]) -> bool:
    """With uv if there is one, else, or if it fails, with pip, which also reads the machine's own pip settings."""
    python = str(VENV / "bin" / "python")
    constraints = ["-c", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    uv = shutil.which("uv") or shutil.which(str(VENV / "bin" / "uv"))
    if uv and run([uv, "pip", "install", "--compile-bytecode", "--python", python, *constraints, *arguments]):
        return True
    if not (VENV / "bin" / "pip").exists() and not run([python, "-m", "ensurepip"]):
        return False
    return run([python, "-m", "pip", "install", *pip_options(), *constraints, *arguments])


def pip_options() -> list[str]:
    """Older pips trust only their own list of certificate authorities."""
    store = next((path for path in SYSTEM_CERTIFICATES if path.is_file()), None)
    given = {"PIP_CERT", "REQUESTS_CA_BUNDLE"} & os.environ.keys()
    return ["--disable-pip-version-check", *(["--cert", str(store)] if store and not given else [])]


def run(command: list[str]) -> bool:
    """Run `command` with its output in the log; a line every ten seconds shows that it is alive."""
    started = time.monotonic()
    environment = {"UV_SYSTEM_CERTS": "1", **os.environ}
    environment.pop("VIRTUAL_ENV", None)
    with LOG.open("a") as log:
        print("$", *command, file=log, flush=True)
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        while True:
            try:
                return process.wait(timeout=10) == 0
            except subprocess.TimeoutExpired:
                say(f"  ... {time.monotonic() - started:.0f} s")


def last_line() -> str:
    lines = [line.strip() for line in LOG.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if line.lower().startswith(("error", "×", "cause"))]
    return (errors or lines or ["no output"])[-1]


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
