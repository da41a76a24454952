"""Writing WAV files that survive a kill and a full disk."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import resource
import signal
import subprocess
import sys
import wave
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile
from vivavoce.audio import PCMU_8K, AudioFormat
from vivavoce.errors import AudioError
from vivavoce.files import WavWriter

SPEECH = np.round(12_000 * np.sin(np.arange(4_801) / 11.0)).astype("<i2")


def frames_of(path: pathlib.Path) -> tuple[int, int, int]:
    """Rate, channels, frames, as an independent reader sees them."""
    with wave.open(str(path), "rb") as reader:
        return (
            reader.getframerate(),
            reader.getnchannels(),
            len(reader.readframes(1 << 30)) // 2 // reader.getnchannels(),
        )


def test_written_files_are_read_back(tmp_path: pathlib.Path) -> None:
    """Stereo, cut anywhere, comes back the same; an incomplete frame at the end is left out."""
    path = tmp_path / "out.wav"
    data = SPEECH.tobytes()[:9_600]
    with WavWriter(path, AudioFormat(24_000, 2)) as writer:
        for start in range(0, len(data), 7):
            writer.write(data[start : start + 7])
        writer.write(memoryview(b"abc"))
        assert writer.frames == 2_400
    samples, rate = soundfile.read(path, dtype="int16")
    assert (rate, samples.tobytes()) == (24_000, data)
    assert (writer.closed, path.stat().st_size) == (True, 44 + 9_600)


def test_an_empty_recording_is_a_wav(tmp_path: pathlib.Path) -> None:
    """A writer that got nothing leaves a file without samples; its format is the core's own."""
    path = tmp_path / "out.wav"
    WavWriter(path).close()
    assert frames_of(path) == (24_000, 1, 0)


def test_header_follows_every_half_second(tmp_path: pathlib.Path) -> None:
    """While it is being written, the file can be played up to the last half second, and by sync() whole."""
    path = tmp_path / "out.wav"
    writer = WavWriter(path)
    seen = []
    for _ in range(60):
        writer.write(bytes(960))
        seen.append(frames_of(path)[2])
    writer.write(bytes(960))
    writer.sync()
    seen.append(frames_of(path)[2])
    writer.close()
    assert seen == [480 * (count // 25 * 25) for count in range(1, 61)] + [480 * 61]


def test_a_killed_process_leaves_a_playable_file(tmp_path: pathlib.Path) -> None:
    """After SIGKILL the file plays to within half a second of what was written, and holds all of it."""
    path = tmp_path / "out.wav"
    code = (
        "import sys, os, signal\nfrom vivavoce.files import WavWriter\nw = WavWriter(sys.argv[1])\n"
        "for _ in range(190): w.write(bytes(960))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert frames_of(path) == (24_000, 1, 175 * 480)
    assert path.stat().st_size == 44 + 190 * 960


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_001, 50_001))
from vivavoce.errors import AudioError
from vivavoce.files import WavWriter
writer = WavWriter(sys.argv[1])
for attempt in range(200):
    try:
        writer.write(bytes(960))
    except AudioError as error:
        print(attempt, error.code, error)
        first = error
        break
try:
    writer.write(bytes(2))
except AudioError as error:
    print(error is first)
writer.close()
"""


def test_a_file_that_may_not_grow_stays_playable(tmp_path: pathlib.Path) -> None:
    """When the system takes no more (here: a size limit), the error says so and all that fitted is in the header."""
    path = tmp_path / "out.wav"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        f"52 audio Cannot write {path}: File too large; its first 1.0 s are kept and playable.\nTrue\n"
    )
    assert frames_of(path) == (24_000, 1, (50_001 - 44) // 2)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_001


class Full:
    """A file on a disk with room for so many bytes, which takes a part of the write that reaches its end."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self.file, self.room, self.closed = file, room, False

    def write(self, data: Any) -> int:
        part = data[: max(0, self.room - self.file.tell())]
        if len(data) and not len(part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(part)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def close(self) -> None:
        self.file.close()
        self.closed = True


def test_a_full_disk_is_told_by_code(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC becomes code `disk_full` with the OSError as cause; what fitted is playable; close stays quiet."""
    path = tmp_path / "out.wav"
    monkeypatch.setattr("builtins.open", lambda name, *_, **__: Full(io.FileIO(name, "w"), 10_043))
    writer = WavWriter(path)
    with pytest.raises(
        AudioError, match=r"No space left on device; its first 0\.2 s are kept and playable"
    ) as caught:
        writer.write(bytes(96_000))
    writer.close()
    monkeypatch.undo()
    assert (caught.value.code, type(caught.value.__cause__)) == ("disk_full", OSError)
    assert frames_of(path) == (24_000, 1, 4_999)


def test_a_full_disk_at_the_start_is_an_audio_error() -> None:
    """/dev/full cannot even take the header."""
    with pytest.raises(
        AudioError, match="Cannot write /dev/full: No space left on device; nothing was written"
    ) as caught:
        WavWriter("/dev/full")
    assert caught.value.code == "disk_full"


def test_a_place_that_is_not_there_is_an_audio_error(tmp_path: pathlib.Path) -> None:
    """A missing directory is told at once."""
    with pytest.raises(AudioError, match="No such file or directory; nothing was written"):
        WavWriter(tmp_path / "no" / "out.wav")


def test_a_wav_ends_at_4_gib(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the size that a WAV's header can say, the rest is refused and the file is whole."""
    monkeypatch.setattr("vivavoce.files._MAX_DATA", 1_003)
    path = tmp_path / "out.wav"
    with WavWriter(path, AudioFormat(24_000, 2)) as writer:
        writer.write(bytes(800))
        with pytest.raises(AudioError, match="has the 4 GiB that a WAV can hold") as caught:
            writer.write(bytes(400))
    assert (caught.value.code, frames_of(path)) == ("file_full", (24_000, 2, 250))


def test_a_closed_writer_refuses(tmp_path: pathlib.Path) -> None:
    """Writing after close is an error, closing and syncing again is not."""
    writer = WavWriter(tmp_path / "out.wav")
    writer.close()
    writer.close()
    writer.sync()
    with pytest.raises(AudioError, match="is closed"):
        writer.write(bytes(2))


def test_only_pcm16_is_written(tmp_path: pathlib.Path) -> None:
    """A G.711 format is refused before a file is made."""
    with pytest.raises(AudioError, match=r"A WavWriter writes PCM16, not G\.711"):
        WavWriter(tmp_path / "out.wav", PCMU_8K)
    assert list(tmp_path.iterdir()) == []
