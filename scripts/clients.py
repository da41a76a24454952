"""Holds the same conversation with every independent client of the Realtime protocol, against a gateway with `local`.

    make test-clients [ARGS='pipecat livekit']
    make test-clients ARGS=--installable    a client that cannot be installed here is named and left out, as in .ci/run

Each client gets an environment of its own under .cache/clients, because their pins clash; the second run finds it there.
Every client does all of it: connect, recorded speech in, transcript and spoken reply out, a function call, an interruption,
close. One that cannot do something says so in `Client.cannot`, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "clients"
SCRIPTS = ROOT / "tests" / "clients"
AUDIO = ROOT / "examples" / "audio"
CONFIG = """provider = "local"
config = { phrases = ["go forward ten meters", "hello"] }
origins = ["*"]
"""
LENIENT = "--installable"
INSTALL_S = 240


class NotInstallableError(Exception):
    """A client's packages cannot be had here."""


@dataclass(frozen=True)
class Client:
    """A client: what it is installed from, and the script that uses it."""

    name: str
    packages: tuple[str, ...]
    script: str
    # What it cannot do, and why.
    cannot: tuple[tuple[str, str], ...] = ()
    in_browser: bool = False

    @property
    def is_npm(self) -> bool:
        return self.script.endswith(".mjs")


CLIENTS = (
    Client("openai", ("openai[realtime]>=3",), "openai_python.py"),
    Client("openai-agents", ("openai-agents>=0.2",), "openai_agents.py"),
    Client("livekit", ("livekit-plugins-openai>=1.2",), "livekit_openai.py"),
    Client("pipecat", ("pipecat-ai[openai]>=1.0",), "pipecat_openai.py"),
    Client("agents-realtime", ("@openai/agents-realtime", "zod"), "openai_agents_js.mjs"),
    Client(
        "agents-webrtc",
        ("@openai/agents-realtime", "zod", "esbuild"),
        "openai_agents_webrtc.mjs",
        in_browser=True,
    ),
    Client("mastra", ("@mastra/voice-openai-realtime", "zod@3"), "mastra.mjs"),
)


def main() -> int:
    """Run the clients named on the command line, or all."""
    names, lenient = [name for name in sys.argv[1:] if name != LENIENT], LENIENT in sys.argv[1:]
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        print(
            f"clients: no client {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in CLIENTS)}"
        )
        return 2
    chosen = [client for client in CLIENTS if not names or client.name in names]
    CACHE.mkdir(parents=True, exist_ok=True)
    prepare_audio()
    failed = missing = 0
    with gateway() as url:
        for client in chosen:
            began = time.monotonic()
            try:
                problem = run(client, url)
                failed += problem is not None
            except NotInstallableError as why:
                problem = f"cannot be installed: {why}"
                missing, failed = missing + 1, failed + (not lenient)
            print(
                f"clients: {client.name:16} {problem or 'ok'} ({time.monotonic() - began:.0f} s)", flush=True
            )
    held = len(chosen) - failed - (missing if lenient else 0)
    print(f"clients: {held} of {len(chosen)} held the conversation")
    return 1 if failed else 0


def prepare_audio() -> None:
    """The recordings as PCM16 at 24 kHz, with the silence that ends a turn."""
    from vivavoce.audio import PCM16_24K, AudioFormat, Converter

    for name, recording in (("walk", "go-forward-ten-meters"), ("hello", "hello")):
        with wave.open(str(AUDIO / f"{recording}.wav")) as file:
            converter = Converter(AudioFormat(file.getframerate()), PCM16_24K)
            audio = converter.feed(file.readframes(file.getnframes())) + converter.flush()
        (CACHE / f"{name}.pcm").write_bytes(audio + bytes(PCM16_24K.bytes_for(1200)))


class gateway:  # noqa: N801 - used as a context, like a function
    """`vivavoce serve` in a process of its own."""

    def __enter__(self) -> str:
        config = CACHE / "gateway.toml"
        config.write_text(CONFIG)
        log = (CACHE / "gateway.log").open("w")
        command = [sys.executable, "-c", "from vivavoce_gateway.serve import serve; serve()"]
        command += ["--config", str(config), "--port", "0", "--log-level", "debug"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        found = re.search(r"ws://\S+", self._process.stdout.readline())
        if found is None:
            raise SystemExit(f"clients: the gateway did not start; see {CACHE / 'gateway.log'}")
        return found.group()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(15)


def run(client: Client, url: str) -> str | None:
    """Hold the conversation; what is wrong, or `None`. Raises `NotInstallableError`."""
    try:
        command = npm_command(client) if client.is_npm else python_command(client)
    except (OSError, subprocess.SubprocessError) as missing:
        raise NotInstallableError(missing) from missing
    done = subprocess.run(
        [*command, url, str(CACHE)], capture_output=True, text=True, timeout=150, cwd=CACHE, check=False
    )
    (CACHE / f"{client.name}.out").write_text(done.stdout + done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return f"said nothing; see {CACHE / client.name}.out"
    problems = judge(client, json.loads(lines[-1]))
    if done.returncode:
        problems.append(f"ended with status {done.returncode}")
    return "; ".join(problems) or None


def judge(client: Client, seen: dict[str, Any]) -> list[str]:
    """What did not come out as it should."""
    expected = {
        "transcript": any("go forward ten meters" in text.lower() for text in seen["transcript"]),
        "reply": bool(seen["reply"]),
        "audio": seen["audio"] > 20_000,
        "peak": seen["peak"] > 1000,
        "tool": seen["tool"] == {"meters": 10},
        "interrupted": seen["interrupted"],
        "closed": seen["closed"],
    }
    excused = {what for what, _ in client.cannot}
    return [
        f"{what}: {seen[what]!r}" for what, right in expected.items() if not right and what not in excused
    ]


def quietly(*command: str) -> None:
    """Run a step of an installation; raises if it fails."""
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=INSTALL_S)


def python_command(client: Client) -> list[str]:
    """An environment with this client alone."""
    home = CACHE / client.name
    python = home / "bin" / "python"
    stamp = home / ".installed"
    if not (stamp.exists() and stamp.read_text() == " ".join(client.packages)):
        print(f"clients: installing {', '.join(client.packages)}", flush=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        if Path(uv).exists():
            quietly(uv, "venv", "-q", "--clear", str(home))
            quietly(uv, "pip", "install", "-q", "--python", str(python), *client.packages)
        else:
            quietly(sys.executable, "-m", "venv", "--clear", str(home))
            quietly(str(python), "-m", "pip", "install", "-q", *client.packages)
        stamp.write_text(" ".join(client.packages))
    return [str(python), str(SCRIPTS / client.script)]


def npm_command(client: Client) -> list[str]:
    """The same from npm. Node looks for packages beside the script, so it is copied there."""
    home = CACHE / client.name
    stamp = home / ".installed"
    if not (stamp.exists() and stamp.read_text() == " ".join(client.packages)):
        print(f"clients: installing {', '.join(client.packages)}", flush=True)
        home.mkdir(exist_ok=True)
        (home / "package.json").write_text('{"private": true}')
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", *client.packages],
            cwd=home,
            check=True,
            timeout=INSTALL_S,
        )
        stamp.write_text(" ".join(client.packages))
    for script in ("parts.mjs", "parts_browser.mjs", client.script):
        shutil.copy(SCRIPTS / script, home / script)
    if client.in_browser:
        return browser_command(home, client)
    return ["node", str(home / client.script)]


def browser_command(home: Path, client: Client) -> list[str]:
    """The same in a browser, which takes one file that holds everything."""
    bundle = home / "bundle.js"
    build = [str(home / "node_modules" / ".bin" / "esbuild"), client.script]
    subprocess.run(
        [*build, "--bundle", "--format=esm", "--log-level=error", f"--outfile={bundle}"], cwd=home, check=True
    )
    return [sys.executable, str(ROOT / "scripts" / "browser_client.py"), str(bundle)]


if __name__ == "__main__":
    raise SystemExit(main())
