"""Other frameworks beside ours, on the same flood, in one run. Each is installed into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import flood

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts"))

import clients  # noqa: E402

__all__ = ["main"]

PEERS = ("openai", "openai-agents", "livekit", "pipecat")
ROUNDS = 2


def environments() -> dict[str, str]:
    """Peer -> its interpreter; those that cannot be installed are named and left out."""
    clients.CACHE.mkdir(parents=True, exist_ok=True)
    found = {}
    for client in clients.CLIENTS:
        if client.name in PEERS:
            try:
                found[client.name] = clients.python_command(client)[0]
            except (OSError, subprocess.CalledProcessError) as missing:
                print(f"{client.name}: cannot be installed ({missing})", file=sys.stderr)
    return found


def measure(command: list[str]) -> float | str:
    """CPU seconds an event, or why there is no number."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    except subprocess.TimeoutExpired:
        return "no result in 150 s"
    try:
        return float(done.stdout)
    except ValueError:
        return (done.stderr.strip().splitlines() or ["said nothing"])[-1][:120]


def main() -> int:
    """Print a table: the best of several rounds, interleaved."""
    pythons = environments()
    server = subprocess.Popen([sys.executable, flood.__file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    print(f"\n{'20 ms of audio, CPU':28} {'receive':>22} {'send':>22}")
    best: dict[tuple[str, str], float] = {}
    problems: dict[tuple[str, str], str] = {}
    try:
        for _ in range(ROUNDS):
            for mode in ("receive", "send"):
                for who in ("vivavoce", *pythons):
                    ours = [sys.executable, flood.__file__, "ours", mode, port]
                    peer = [pythons.get(who, ""), str(HERE / "peer_clients.py"), who, mode, port]
                    seen = measure(ours if who == "vivavoce" else peer)
                    if isinstance(seen, str):
                        problems[who, mode] = seen
                    else:
                        best[who, mode] = min(seen, best.get((who, mode), 1e9))
    finally:
        server.terminate()
        server.wait(10)
    for who in ("vivavoce", *pythons):
        cells = [
            f"{best[who, mode] * 1e6:8.2f} µs {best[who, mode] / best['vivavoce', mode]:6.1f} x"
            if (who, mode) in best
            else "-"
            for mode in ("receive", "send")
        ]
        print(f"{who:28} {cells[0]:>22} {cells[1]:>22}")
    for (who, mode), problem in problems.items():
        print(f"{who}, {mode}: {problem}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
