"""Writes constraints.txt: one version of every package that any target installs, for Python 3.11 and later.

Names and versions only, so that it holds no word of where the packages come from.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from environment import CONSTRAINTS, ROOT, VENV, as_arguments, read_groups, wanted

HEADER = "# Made by `make lock`: the versions that this repository is tested with. Distributions state wider ranges.\n"


def main() -> int:
    uv = shutil.which("uv") or shutil.which(str(VENV / "bin" / "uv"))
    if uv is None:
        print("lock: needs uv, which could not be installed; see https://docs.astral.sh/uv/", file=sys.stderr)
        return 1
    members = [part for part in as_arguments(wanted("test")) if part != "-e"]
    requirements = [f"-e {member}" for member in members] + read_groups(["test", "lint", "docs", "dist"])
    command = [uv, "pip", "compile", "-", "--universal", "--python-version", "3.11", "--upgrade", "--quiet"]
    plain = ["--no-header", "--no-annotate", "--no-emit-index-url"]
    done = subprocess.run(
        [*command, *plain],
        input="\n".join(requirements),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.returncode
    pins = [line for line in done.stdout.splitlines() if "==" in line]
    CONSTRAINTS.write_text(HEADER + "\n".join(pins) + "\n")
    print(f"lock: {len(pins)} packages in {CONSTRAINTS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
