"""The `local` provider on recorded human speech: word error rate, turn latency, memory and CPU.

    python tests/bench/local_wer.py [--prompts 60] [--turns 12]

Word error rate: `listen` on prompts that are always the same ones, with open vocabulary and with their transcripts as a
list of phrases. Latency: turns of a whole session, sent at real-time speed, from the end of the 500 ms of silence that end
a turn (when `speech.stopped` is emitted) to the first reply audio, with the responder `echo`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vivavoce import Voice

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from real_speech import Prompt, SpeechUnavailable, bench_prompts, words

__all__ = ["errors", "hear", "main", "talk"]

NEW_WORDS = {  # of the transcripts, as they spell them
    "indentified": "AY D EH N T IH F AY D",
    "rerecord": "R IY R IH K AO R D",
    "unmuted": "AH N M Y UW T IH D",
    "witheld": "W IH TH HH EH L D",
}
SILENCE = bytes(16_000 * 2)


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words put in, left out or changed: the edit distance."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


async def hear(prompts: Sequence[Prompt], **config: Any) -> tuple[float, float, float]:
    """Word error rate, seconds of CPU per second of speech, median ms from the end of the audio to the text."""
    voice = Voice("pocketsphinx", **config)
    await voice.get_listener()
    wrong = total = 0
    waits = []
    before = _children_cpu()
    for prompt in prompts:
        ended = 0.0

        async def audio(pcm: bytes = prompt.pcm) -> Any:
            nonlocal ended
            for start in range(0, len(pcm), 3200):
                yield pcm[start : start + 3200]
                await asyncio.sleep(0.03)  # the decoder keeps up with three times real time
            ended = time.perf_counter()

        text = await voice.listen(audio())
        waits.append((time.perf_counter() - ended) * 1000)
        said = words(prompt.transcript)
        wrong += errors(said, words(text))
        total += len(said)
    await voice.close()
    seconds = sum(prompt.seconds for prompt in prompts)
    return wrong / total, (_children_cpu() - before) / seconds, statistics.median(waits)


async def talk(prompts: Sequence[Prompt]) -> dict[str, float]:
    """Turns of one session at real-time speed."""
    latencies: list[float] = []
    stopped: list[float] = []
    answered = asyncio.Event()
    own, engines, began = _own_cpu(), _children_cpu(), time.perf_counter()

    def first_audio(_: Any) -> None:
        if stopped:
            latencies.append((time.perf_counter() - stopped.pop()) * 1000)

    async with Voice("local", responder="echo", barge_in=False) as voice:
        voice.on("speech.stopped", lambda _: (stopped.clear(), stopped.append(time.perf_counter())))
        voice.on("speaking", first_audio)
        voice.on("response.done", lambda _: answered.set())
        connected = time.perf_counter() - began
        for prompt in prompts:
            answered.clear()
            await voice.send(prompt.pcm + SILENCE, pace=True)
            async with asyncio.timeout(10):
                await answered.wait()
        memory = {name: size / 1024 for name, size in _memory().items()}
    elapsed = time.perf_counter() - began
    ordered = sorted(latencies)
    return {
        "connect ms": connected * 1000,
        "turns": len(ordered),
        "latency ms median": statistics.median(ordered),
        "latency ms p90": ordered[int(len(ordered) * 0.9)],
        "latency ms max": ordered[-1],
        "CPU % of a core, app": (_own_cpu() - own) / elapsed * 100,
        "CPU % of a core, engines": (_children_cpu() - engines) / elapsed * 100,
        **{f"memory MiB, {name}": size for name, size in memory.items()},
    }


def _own_cpu() -> float:
    return time.process_time()


def _children_cpu() -> float:
    """CPU seconds of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory() -> dict[str, int]:
    """Resident KiB of this process and of its children, by engine (Linux)."""
    found = {"app": _resident(os.getpid())}
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for pid in children.read_text().split() if children.exists() else ():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        found[command[-2].decode()] = _resident(int(pid))
    return found


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


async def _run(prompts: int, turns: int) -> None:
    spoken = bench_prompts(prompts)
    said = [" ".join(words(prompt.transcript)) for prompt in spoken]
    print(f"local: {len(spoken)} prompts, {sum(p.seconds for p in spoken):.0f} s of human speech")
    print(f"{'':28}{'WER':>8}{'CPU s/s':>10}{'text after ms':>15}")
    for label, config in (
        ("open vocabulary", {}),
        ("phrase list", {"phrases": said, "pronunciations": NEW_WORDS}),
    ):
        rate, cpu, wait = await hear(spoken, **config)
        print(f"{label:28}{rate:8.3f}{cpu:10.2f}{wait:15.0f}")
    print(f"session of {turns} turns, at real-time speed")
    for name, value in (await talk(spoken[:: max(1, len(spoken) // turns)][:turns])).items():
        print(f"{name:28}{value:8.1f}")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure the local provider on recorded human speech.")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--turns", type=int, default=12)
    options = parser.parse_args()
    try:
        asyncio.run(_run(options.prompts, options.turns))
    except SpeechUnavailable as missing:
        print(f"{missing}; the local provider is not measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
