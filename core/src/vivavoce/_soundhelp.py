"""Plain words for why there is no sound, and what to do about it on this system."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Final

__all__ = ["how_to_install", "silence_reasons"]

_LIBRARY: Final = {
    "debian": "apt install libportaudio2",
    "ubuntu": "apt install libportaudio2",
    "fedora": "dnf install portaudio",
    "rhel": "dnf install portaudio",
    "arch": "pacman -S portaudio",
    "suse": "zypper install libportaudio2",
    "opensuse": "zypper install libportaudio2",
    "alpine": "apk add portaudio",
}
_BRIDGE: Final = {
    "debian": "apt install libasound2-plugins",
    "ubuntu": "apt install libasound2-plugins",
    "fedora": "dnf install pipewire-alsa",
    "rhel": "dnf install pipewire-alsa",
    "arch": "pacman -S pipewire-alsa",
    "suse": "zypper install pipewire-alsa",
    "opensuse": "zypper install pipewire-alsa",
    "alpine": "apk add alsa-plugins-pulse",
}
"""What leads ALSA, which is all that PortAudio knows on Linux, to PulseAudio or PipeWire."""
_PERMISSION: Final = {
    "darwin": "this program may not use one: System Settings, Privacy & Security, Microphone, allow your terminal,"
    " and start it again",
    "win32": "this program may not use one: Settings, Privacy & security, Microphone, let desktop apps access it",
}


def how_to_install() -> str:
    """The command that installs PortAudio here. Its wheels for macOS and Windows bring it along."""
    if sys.platform in _PERMISSION:
        return "pip install --force-reinstall sounddevice (its wheels bring it along)"
    return _of_this(_LIBRARY) or "install your system's portaudio package (libportaudio2 on Debian)"


def _of_this(commands: dict[str, str]) -> str | None:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None
    names = (release.get("ID", ""), *release.get("ID_LIKE", "").split())
    return next((commands[name] for name in names if name in commands), None)


def silence_reasons() -> list[str]:
    """Why there may be no device on this machine, each with what to do."""
    if sys.platform != "linux":
        permission = _PERMISSION.get(sys.platform, "this program has no permission to use one")
        return [f"no sound device is connected, or {permission}"]
    reasons = [*_server_reasons(), *_card_reasons(Path("/dev/snd"))]
    bridge = _of_this(_BRIDGE) or "install ALSA's plugin for them (libasound2-plugins on Debian)"
    return reasons or [f"ALSA lists no device: with PulseAudio or PipeWire, {bridge}"]


def _server_reasons() -> list[str]:
    server = os.environ.get("PULSE_SERVER", "")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    if server.startswith(("unix:", "/")):
        socket = Path(server.removeprefix("unix:"))
        if not socket.exists():
            return [f"PULSE_SERVER names {socket}, where no sound server listens: start it, or unset it"]
    elif not server and not any((runtime / name).exists() for name in ("pulse/native", "pipewire-0")):
        return ["no PulseAudio or PipeWire server runs for this user (`pulseaudio --start` begins one)"]
    return []


def _card_reasons(cards: Path) -> list[str]:
    if not cards.exists():
        return ["this machine (or container) has no sound card: /dev/snd is missing"]
    if not any(os.access(card, os.R_OK | os.W_OK) for card in cards.glob("pcm*")):
        return [
            "no permission for /dev/snd: add yourself to the group `audio` (`sudo usermod -aG audio $USER`)"
            " and log in again"
        ]
    return []
