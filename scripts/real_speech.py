#!/usr/bin/env python3
"""Recorded human speech with transcripts, for tests and benchmarks.

Debian's `asterisk-core-sounds-en-g722` holds 568 prompts spoken by Allison Smith (CC BY-SA 3.0), and
`asterisk-core-sounds-en` their transcripts. Both are fetched with `apt-get download`, which needs no root, and unpacked
below `.cache/real-speech/` with `dpkg-deb -x`, which also unpacks documentation where dpkg is told to leave it out.
Nothing is installed and nothing of it is part of this repository.

    python scripts/real_speech.py --fetch     fetch once; the second time it only looks
    python scripts/real_speech.py --list      name, seconds and transcript of every prompt
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["CACHE", "Prompt", "SpeechUnavailable", "bench_prompts", "fetch", "prompts", "words"]

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "real-speech"
PACKAGES = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-g722")
RATE = 16_000
_SPOKEN_DIGITS = dict(
    zip(
        "0123456789",
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
        strict=True,
    )
)


class SpeechUnavailable(Exception):
    """The recordings cannot be had here; the text says in one line what is missing."""


class Prompt(NamedTuple):
    """One recording: PCM16 mono at 16 kHz, and what is said in it."""

    name: str
    pcm: bytes
    transcript: str

    @property
    def seconds(self) -> float:
        return len(self.pcm) / (2 * RATE)


def words(text: str) -> list[str]:
    """The words of a transcript as a recogniser would write them: lower case, digits spoken, no punctuation."""
    spelled = "".join(f" {_SPOKEN_DIGITS[c]} " if c in _SPOKEN_DIGITS else c for c in text.lower())
    kept = "".join(c if c.isalpha() or c == "'" else " " for c in spelled)
    return [word.strip("'") for word in kept.split() if word.strip("'")]


def fetch(cache: Path = CACHE) -> Path:
    """Fetch and unpack the recordings, once. Returns the folder they are in; raises `SpeechUnavailable`."""
    done = cache / "complete"
    if not done.exists():
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SpeechUnavailable(
                    f"real speech: {tool} is not here, so the Debian packages cannot be fetched"
                )
        cache.mkdir(parents=True, exist_ok=True)
        _download(cache)
        for package in PACKAGES:
            (archive,) = cache.glob(f"{package}_*.deb")
            _run(["dpkg-deb", "-x", str(archive), str(cache)], cache)
            archive.unlink()
        done.touch()
    return cache


def _download(cache: Path) -> None:
    for old in cache.glob("*.deb"):
        old.unlink()
    command = ["apt-get", "download", "-q", *PACKAGES]
    try:
        _run(command, cache)
    except SpeechUnavailable:
        # No package lists, as in a fresh container: fetch some of our own, which needs no root either.
        state = cache / "apt"
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        own = ["-o", f"Dir::State::lists={state / 'lists'}", "-o", f"Dir::Cache={state}"]
        try:
            _run(["apt-get", "update", "-q", *own], cache)
            _run([command[0], *own, *command[1:]], cache)
        finally:
            shutil.rmtree(state, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise SpeechUnavailable(f"real speech: {command[0]} failed: {failure}") from failure
    if done.returncode != 0:
        said = [
            line for line in done.stderr.splitlines() if line.startswith("E:")
        ] or done.stderr.splitlines()[-1:]
        raise SpeechUnavailable(f"real speech: {command[0]} failed: {' '.join(said)}")


def _transcripts(cache: Path) -> dict[str, str]:
    packed = cache / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    said = {}
    for line in gzip.decompress(packed.read_bytes()).decode("utf-8", "replace").splitlines():
        name, colon, text = line.partition(":")
        # Brackets hold what is no speech: tones, silence, remarks.
        if colon and not line.startswith(";") and not any(mark in text for mark in "[(<"):
            said[name] = " ".join(text.split())
    return said


def _decode(path: Path) -> bytes:
    try:
        import av
    except ImportError as missing:
        raise SpeechUnavailable(
            "real speech: PyAV decodes G.722 and is not installed: pip install av"
        ) from missing
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in container.decode(audio=0))


def prompts(cache: Path = CACHE) -> Iterator[Prompt]:
    """Every recording of speech with its transcript, by name. Raises `SpeechUnavailable` before the first."""
    fetch(cache)
    sounds = cache / "usr/share/asterisk/sounds/en_US_f_Allison"
    for name, transcript in sorted(_transcripts(cache).items()):
        path = sounds / f"{name}.g722"
        if path.exists():
            yield Prompt(name, _decode(path), transcript)


def bench_prompts(count: int = 60, cache: Path = CACHE) -> list[Prompt]:
    """`count` whole sentences of 4 to 14 words, spread evenly over the recordings: always the same ones."""
    sounds = fetch(cache) / "usr/share/asterisk/sounds/en_US_f_Allison"
    chosen: dict[tuple[str, ...], str] = {}
    said = _transcripts(cache)
    for name, transcript in sorted(said.items()):
        spoken = tuple(words(transcript))
        whole = 4 <= len(spoken) <= 14 and "..." not in transcript and not set("#*@") & set(transcript)
        if whole and (sounds / f"{name}.g722").exists():
            chosen.setdefault(spoken, name)
    names = list(chosen.values())
    picked = [names[i * len(names) // count] for i in range(min(count, len(names)))]
    return [Prompt(name, _decode(sounds / f"{name}.g722"), said[name]) for name in picked]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Without the recordings: one line, exit status 0 (a skip is no failure)."""
    parser = argparse.ArgumentParser(description="Fetch recorded human speech for tests and benchmarks.")
    parser.add_argument("--fetch", action="store_true", help="fetch the recordings, once")
    parser.add_argument("--list", action="store_true", help="name, seconds and transcript of every prompt")
    options = parser.parse_args(arguments)
    try:
        if options.list:
            for prompt in prompts():
                print(f"{prompt.name}\t{prompt.seconds:.2f}\t{prompt.transcript}")
        else:
            print(f"real speech: ready in {fetch()}")
    except SpeechUnavailable as missing:
        print(f"{missing}; what needs it is skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
