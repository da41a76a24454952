#!/usr/bin/env python3
"""Installs what tests with sound devices and with a browser need, where that is possible: Debian's packages, as root.

Elsewhere, or without root, it says in one line what is missing; the tests are skipped then.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

__all__ = ["main"]


def _has_sound() -> bool:
    return shutil.which("pulseaudio") is not None and ctypes.util.find_library("portaudio") is not None


def _has_browser() -> bool:
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


# What for, whether it is there, Debian's packages.
NEEDS: tuple[tuple[str, Callable[[], bool], tuple[str, ...]], ...] = (
    (
        "sound devices",
        _has_sound,
        ("pulseaudio", "pulseaudio-utils", "libasound2-plugins", "libportaudio2"),
    ),
    ("a browser", _has_browser, ("chromium", "chromium-driver")),
)


def _install(packages: tuple[str, ...]) -> bool:
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (command, ["apt-get", "update", "-qq"], command):
        try:
            done = subprocess.run(step, env=environment, capture_output=True, timeout=240, check=False)
        except subprocess.TimeoutExpired:
            return False
        if done.returncode == 0 and step is command:
            return True
    return False


def main() -> int:
    """Exit status 0 in any case: a skip is no failure."""
    for what, is_there, packages in NEEDS:
        if is_there():
            continue
        begun = time.monotonic()
        able = shutil.which("apt-get") is not None and os.geteuid() == 0
        if able:
            print(f"setup: packages of the system for tests with {what} ({' '.join(packages)})", flush=True)
        if able and _install(packages) and is_there():
            print(f"setup: ready after {time.monotonic() - begun:.0f} s", flush=True)
        else:
            print(f"tests with {what} will be skipped: apt install {' '.join(packages)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
