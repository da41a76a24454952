"""`make bench`: the project's own measurements in one table. `--peers` adds other frameworks; `--quick` leaves out speech.

CPU seconds of the process that is measured, not wall time, since the machine may be shared; the best of several runs.
Limits are aims of the project, and are shown, not enforced.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import core_costs  # noqa: E402
import flood  # noqa: E402

LIMITS = {
    "an audio event to 1 listeners": 2.0,
    "send of a 20 ms frame": 4.0,
}
DEPENDENCIES = "import asyncio, attrs, msgspec, pluggy"


def row(what: str, value: str, beside: str = "", ratio: str = "", aim: str = "") -> None:
    print(f"{what:44} {value:>12} {beside:>14} {ratio:>7}  {aim}", flush=True)


def imports() -> None:
    ground = core_costs.import_cost(DEPENDENCIES)
    core = core_costs.import_cost("import vivavoce")
    row(
        "import vivavoce",
        f"{core * 1e3:.0f} ms",
        f"{ground * 1e3:.0f} ms",
        f"{core / ground:.2f}",
        "1.3 x its dependencies",
    )
    both = core_costs.import_cost("import vivavoce, vivavoce_openai_realtime")
    row(
        "import of core and openai-realtime",
        f"{both * 1e3:.0f} ms",
        f"{ground * 1e3:.0f} ms",
        f"{both / ground:.2f}",
        "160 ms",
    )


def core() -> None:
    row("list 100 plugins", f"{core_costs.listing_cost() * 1e3:.0f} ms")
    for what, seconds in asyncio.run(core_costs.measure()):
        aim = f"{LIMITS[what]:g} µs" if what in LIMITS else ""
        row(what, f"{seconds * 1e6:.2f} µs", aim=aim)


def wire() -> None:
    aims = {"receive": "1.5 x the bare loop", "send": "1.5 x the bare loop", "connect": "2 x the bare loop"}
    for mode, (bare, ours) in flood.measure().items():
        row(
            f"openai-realtime: {mode}",
            f"{ours * 1e6:.2f} µs",
            f"{bare * 1e6:.2f} µs",
            f"{ours / bare:.2f}",
            aims[mode],
        )


def script(name: str, *arguments: str) -> None:
    print(f"\n{name}", flush=True)
    subprocess.run([sys.executable, str(HERE / name), *arguments], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out resamplers and speech")
    parser.add_argument("--peers", action="store_true", help="add other frameworks, where they are installed")
    options = parser.parse_args()
    row("what", "ours", "beside", "ratio", "aim")
    imports()
    core()
    wire()
    if options.peers:
        script("peers.py")
    if not options.quick:
        for name in (
            "bench_resample.py",
            "local_wer.py",
            "gateway_load.py",
            "webrtc_load.py",
            "devices_live.py",
        ):
            if (HERE / name).exists():
                script(name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
