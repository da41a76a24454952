"""Builds every distribution, checks the wheels, and installs them together where nothing else is.

The environment for that is a new one in a temporary directory; it sees the wheels that were built and, for foreign
packages, what pip sees. Each step says what it found; the first failure ends it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from environment import CONSTRAINTS, LOG, ROOT, VENV, manifests, pip_options, run

DIST = ROOT / "dist"
SMOKE = [
    ["vivavoce", "--version"],
    ["vivavoce", "providers"],
    ["python", "-c", "import vivavoce; print('import vivavoce: fine')"],
]


class DistError(Exception):
    """What is wrong with what was built; one line."""


def main() -> int:
    LOG.parent.mkdir(exist_ok=True)
    try:
        wheels = build()
        for wheel in wheels:
            check(wheel)
        check_descriptions()
        install_and_try()
    except DistError as error:
        print(f"dist: {error}", file=sys.stderr)
        return 1
    return 0


def build() -> list[Path]:
    """Wheel and source archive of every member, in `dist/`, emptied before."""
    shutil.rmtree(DIST, ignore_errors=True)
    uv = shutil.which("uv") or shutil.which(str(VENV / "bin" / "uv"))
    for manifest in manifests():
        member = str(manifest.parent)
        command = [uv, "build", member] if uv else [sys.executable, "-m", "build", member]
        if not run([*command, "--out-dir" if uv else "--outdir", str(DIST)]):
            raise DistError(f"{manifest.parent.name} does not build; see {LOG.relative_to(ROOT)}")
    wheels = sorted(DIST.glob("*.whl"))
    if len(wheels) != len(manifests()):
        raise DistError(f"{len(manifests())} distributions, but {len(wheels)} wheels")
    return wheels


def check(wheel: Path) -> None:
    """Licence, typing marker and entry points are inside, and nothing that does not belong."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = next((name.split("/")[0] for name in names if name.endswith("/__init__.py")), "")
    wanted = {
        "the licence": "/licenses/LICENSE",
        "py.typed": f"{package}/py.typed",
        "metadata": ".dist-info/METADATA",
    }
    for what, ending in wanted.items():
        if not any(name.endswith(ending) for name in names):
            raise DistError(f"{wheel.name} lacks {what}")
    foreign = [name for name in names if not name.startswith(f"{package}/") and ".dist-info/" not in name]
    if foreign:
        raise DistError(f"{wheel.name} holds {foreign[0]}, which is not of its package")
    print(f"dist: {wheel.name}, {wheel.stat().st_size // 1024} KiB, {len(names)} files")


def check_descriptions() -> None:
    """Descriptions that an index can show."""
    files = [str(path) for path in sorted(DIST.iterdir()) if path.suffix in {".whl", ".gz"}]
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DistError(f"twine check: {done.stdout.strip()} {done.stderr.strip()}")


def install_and_try() -> None:
    """All wheels in one empty environment, then the commands of `SMOKE`."""
    with tempfile.TemporaryDirectory(prefix="vivavoce-dist-") as directory:
        place = Path(directory) / "env"
        python = str(place / "bin" / "python")
        uv = shutil.which("uv") or shutil.which(str(VENV / "bin" / "uv"))
        made = run(
            [uv, "venv", "--python", sys.executable, str(place)]
            if uv
            else [sys.executable, "-m", "venv", str(place)]
        )
        if not made or not install(uv, python):
            raise DistError(f"the wheels cannot be installed together; see {LOG.relative_to(ROOT)}")
        for command in SMOKE:
            done = subprocess.run(
                [str(place / "bin" / command[0]), *command[1:]],
                cwd=directory,  # so that nothing of the repository is importable
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            if done.returncode:
                raise DistError(
                    f"`{' '.join(command)}` fails in an empty environment: {done.stderr.strip()[-500:]}"
                )
            print(f"dist: {done.stdout.strip()}")


def install(uv: str | None, python: str) -> bool:
    """The wheels by path, so that they cannot be mistaken for others of the same name; the command needs its extra."""
    names = {tomllib.loads(path.read_text())["project"]["name"]: path for path in manifests()}
    wheels = {wheel.name.split("-")[0].replace("_", "-"): wheel for wheel in DIST.glob("*.whl")}
    requirements = [str(wheels[name]) for name in names]
    requirements[0] += "[cli]"
    constraints = ["-c", str(CONSTRAINTS)]
    if uv:
        return run(
            [uv, "pip", "install", "--python", python, "--find-links", str(DIST), *constraints, *requirements]
        )
    return run(
        [
            python,
            "-m",
            "pip",
            "install",
            *pip_options(),
            "--find-links",
            str(DIST),
            *constraints,
            *requirements,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
