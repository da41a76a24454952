"""Sound without a sound card: a PulseAudio daemon of our own, with a speaker and a microphone that exist only in it.

Debian: pulseaudio pulseaudio-utils libasound2-plugins libportaudio2 (`python scripts/system_packages.py` installs them).
What is played on its speaker can be recorded at the monitor; what is played into `mic_in` comes out of the microphone.
"""

from __future__ import annotations

import array
import ctypes.util
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

__all__ = ["MONITOR_RATE", "Monitor", "SoundServer", "missing"]

MONITOR_RATE = 48_000
_TOOLS = ("pulseaudio", "pactl", "parec", "pacat")
_ASOUND = """\
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "Default" } }
ctl.!default { type pulse }
pcm.headset { type pulse server "unix:%s/native" hint { show on description "Headset" } }
"""


def missing() -> str | None:
    """One line that says what is not installed here, or `None`."""
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    lacking += [] if ctypes.util.find_library("portaudio") else ["libportaudio2"]
    plugins = Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")
    lacking += [] if any(plugins) else ["libasound2-plugins"]
    if not lacking:
        return None
    return (
        f"no virtual sound devices: {', '.join(lacking)} missing (as root: python scripts/system_packages.py)"
    )


class SoundServer:
    """The daemon, and the environment that leads programs of this process to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.headset = directory / "headset"
        """Where the device "headset" looks for its sound: another server there is a headset that is plugged in."""
        self._keepers: list[Monitor] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self._players: list[subprocess.Popen[bytes]] = []
        self._socket = directory / "native"
        config = directory / "asound.conf"
        config.write_text(_ASOUND % self.headset)
        self.environment = {
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_COOKIE": str(directory / "cookie"),
            "ALSA_CONFIG_PATH": str(config),
        }

    def start(self) -> None:
        home = {name: str(self.directory) for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH")}
        modules = [
            f"module-native-protocol-unix socket={self._socket} auth-anonymous=1",
            f"module-null-sink sink_name=speaker rate={MONITOR_RATE} channels=2",
            f"module-null-sink sink_name=mic_in rate={MONITOR_RATE} channels=1",
            "module-remap-source master=mic_in.monitor source_name=mic channels=1",
        ]
        self._socket.unlink(missing_ok=True)
        with (self.directory / "daemon.log").open("wb") as log:
            self._daemon = subprocess.Popen(
                [
                    *["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"],
                    *["--disable-shm=yes", "--realtime=no", "--high-priority=no", "--log-target=stderr"],
                    *[f"--load={module}" for module in modules],
                ],
                env={**os.environ, **home},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        for _ in range(200):
            if self._socket.exists() and "mic\t" in self.ask("list", "short", "sources"):
                # A null sink that nobody listens to renders 2 s at a time, and a stream that is opened meanwhile
                # waits for the rest of them. A listener with a short latency makes it a device like others.
                self._keepers = [self.monitor(), self.monitor("mic_in.monitor")]
                while not all(keeper.pieces for keeper in self._keepers):
                    time.sleep(0.05)
                return
            time.sleep(0.05)
        raise RuntimeError(f"the sound server did not start: {(self.directory / 'daemon.log').read_text()}")

    def stop(self) -> None:
        """As unplugging does: without a word to those who use it."""
        for keeper in self._keepers:
            keeper.__exit__()
        self._keepers.clear()
        for player in self._players:
            player.kill()
            player.wait(10)
        self._players.clear()
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGKILL)
            self._daemon.wait(10)
            self._daemon = None

    def ask(self, *arguments: str) -> str:
        done = subprocess.run(
            ["pactl", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return done.stdout

    def say(self, pcm: bytes, rate: int = 16_000) -> subprocess.Popen[bytes]:
        """Play PCM16 mono into the microphone; returns at once."""
        player = subprocess.Popen(
            [
                *[
                    "pacat",
                    "-p",
                    "-d",
                    "mic_in",
                    "--raw",
                    "--format=s16le",
                    "--channels=1",
                    "--latency-msec=20",
                ],
                f"--rate={rate}",
            ],
            env=self._environment(),
            stdin=subprocess.PIPE,
        )
        threading.Thread(target=_give, args=(player, pcm), daemon=True).start()
        self._players.append(player)
        return player

    def monitor(self, source: str = "speaker.monitor") -> Monitor:
        return Monitor(source, self._environment())

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


def _give(player: subprocess.Popen[bytes], pcm: bytes) -> None:
    assert player.stdin is not None
    try:
        player.stdin.write(pcm)
        player.stdin.close()
    except BrokenPipeError:
        return


class Monitor:
    """Records what a sink carries: mono PCM16 at 48 kHz, and when each piece of it came."""

    def __init__(self, source: str, environment: dict[str, str]) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self._process = subprocess.Popen(
            [
                *["parec", "-d", source, "--raw", "--format=s16le", "--channels=1", "--latency-msec=10"],
                f"--rate={MONITOR_RATE}",
            ],
            env=environment,
            stdout=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := os.read(self._process.stdout.fileno(), 1 << 14):
            self.pieces.append((time.monotonic(), piece))

    def __enter__(self) -> Monitor:
        while not self.pieces:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def pcm(self, since: float = 0.0) -> bytes:
        """What came since then, by `time.monotonic`."""
        return b"".join(piece for at, piece in list(self.pieces) if at >= since)

    def last_sound(self, threshold: int = 200) -> float:
        """When the newest sound came."""
        loud = (at for at, piece in reversed(self.pieces) if _peak(piece) > threshold)
        return next(loud, 0.0)

    def sounds(self, threshold: int, since: float = 0.0) -> list[float]:
        """The time of each sample with sound. By counting samples: reading a piece late makes nothing later."""
        count, zero, whole = 0, float("inf"), bytearray()
        for at, piece in list(self.pieces):
            whole += piece
            count = len(whole) // 2
            zero = min(zero, at - count / MONITOR_RATE)
        samples = array.array("h", bytes(whole[: count * 2]))
        first = max(0, int((since - zero) * MONITOR_RATE))
        return [
            zero + n / MONITOR_RATE
            for n, sample in enumerate(samples[first:], first)
            if abs(sample) > threshold
        ]

    def sound_ms(self, since: float = 0.0, threshold: int = 200) -> float:
        """From the first to the last sound."""
        samples = array.array("h", self.pcm(since))
        loud = [n for n, sample in enumerate(samples) if abs(sample) > threshold]
        return (loud[-1] - loud[0] + 1) * 1000 / MONITOR_RATE if loud else 0.0


def _peak(piece: bytes) -> int:
    samples = array.array("h", piece[: len(piece) & ~1])
    return max(max(samples), -min(samples)) if samples else 0
