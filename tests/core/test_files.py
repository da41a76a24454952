"""Reading and writing audio files."""

from __future__ import annotations

import io
import os
import pathlib
import struct
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
import soundfile
from vivavoce.audio import PCM16_24K, AudioFormat
from vivavoce.errors import AudioError
from vivavoce.files import AudioReader

SPEECH = np.round(12_000 * np.sin(np.arange(4_801) / 11.0)).astype("<i2")


def wav(rate: int, channels: int, data: bytes, *, bits: int = 16) -> bytes:
    """A WAV by hand, so that its header can say anything."""
    frame = channels * bits // 8
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * frame & 0xFFFFFFFF, frame, bits)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
        + fmt
        + struct.pack("<4sI", b"data", len(data))
        + data
    )


def read_all(source: Any) -> tuple[AudioFormat, bytes]:
    with AudioReader(source) as reader:
        return reader.format, b"".join(reader.blocks(1_000))


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("wav", "DOUBLE"), ("flac", "PCM_16")],
)
def test_lossless_formats_are_read_exactly(tmp_path: pathlib.Path, suffix: str, subtype: str) -> None:
    """What was 16 bits comes back the same from any lossless format, floats included."""
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, SPEECH / 32_768, 22_050, subtype=subtype)
    assert read_all(path) == (AudioFormat(22_050), SPEECH.tobytes())


def test_lossy_formats_are_read_at_their_length(tmp_path: pathlib.Path) -> None:
    """Ogg Vorbis is decoded, in whole, and sounds the same."""
    path = tmp_path / "speech.ogg"
    soundfile.write(path, SPEECH, 24_000)
    format, data = read_all(path)
    decoded = np.frombuffer(data, "<i2").astype(float)
    assert (format, len(decoded)) == (PCM16_24K, len(SPEECH))
    assert np.corrcoef(decoded, SPEECH)[0, 1] > 0.99


def test_deep_samples_are_rounded(tmp_path: pathlib.Path) -> None:
    """24-bit samples go to the nearest 16-bit one."""
    path = tmp_path / "deep.wav"
    soundfile.write(path, np.array([255, 127, -255, 256 * 7 + 200], "<i4") << 8, 24_000, subtype="PCM_24")
    assert np.frombuffer(read_all(path)[1], "<i2").tolist() == [1, 0, -1, 8]


def test_paths_and_files_are_the_same_audio(tmp_path: pathlib.Path) -> None:
    """str, PathLike, an open file and a BytesIO; the caller's file stays open."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, SPEECH, 24_000)
    memory = io.BytesIO(path.read_bytes())
    with path.open("rb") as opened:
        assert [read_all(source) for source in (str(path), path, opened, memory)] == [
            (PCM16_24K, SPEECH.tobytes())
        ] * 4
        assert (opened.closed, memory.closed) == (False, False)


def test_readers_know_their_length(tmp_path: pathlib.Path) -> None:
    """`frames` is there before anything is read, and close may be called twice."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, SPEECH, 24_000)
    reader = AudioReader(path)
    assert (reader.frames, reader.name) == (4_801, str(path))
    reader.close()
    reader.close()


@pytest.mark.parametrize(
    ("rate", "channels", "frames"), [(24_000, 1, 1), (192_000, 8, 100), (1_000, 32, 3), (8_000, 1, 0)]
)
def test_unusual_files_are_read(rate: int, channels: int, frames: int) -> None:
    """One sample, eight channels, 192 kHz, no samples at all: all of it is there."""
    data = bytes(range(256)) * (frames * channels * 2 // 256 + 1)
    data = data[: frames * channels * 2]
    assert read_all(io.BytesIO(wav(rate, channels, data))) == (AudioFormat(rate, channels), data)


def test_a_truncated_file_is_read_to_its_end() -> None:
    """A WAV whose header promises more than there is gives what there is, in whole frames."""
    whole = wav(24_000, 2, SPEECH.tobytes()[:9_600])
    format, data = read_all(io.BytesIO(whole[:-4_001]))
    assert (format.channels, len(data) % 4, len(data)) == (2, 0, 5_596)


def test_bad_paths_say_why(tmp_path: pathlib.Path) -> None:
    """Each reason has its own words, and the file's name."""
    empty = tmp_path / "empty.wav"
    empty.touch()
    text = tmp_path / "notes.txt"
    text.write_text("no audio at all, but rather long " * 20)
    raw = tmp_path / "speech.raw"
    raw.write_bytes(bytes(960))
    found = []
    for path in (tmp_path / "nothing.wav", tmp_path, empty, text, raw, "a\0b.wav"):
        with pytest.raises(AudioError) as caught:
            AudioReader(path)
        found.append(str(caught.value).replace(str(tmp_path), "DIR"))
    assert found[:3] == [
        "Cannot read the audio file DIR/nothing.wav: No such file or directory.",
        "Cannot read the audio file DIR: Is a directory.",
        "The audio file DIR/empty.wav is empty (0 bytes).",
    ]
    assert found[3].startswith("DIR/notes.txt is no audio file that can be read (")
    assert found[4].endswith("for headerless PCM16 send its bytes, with rate=.")
    assert "null" in found[5]


def test_a_rate_of_zero_is_refused() -> None:
    """A header that says 0 Hz is no audio, and the error is about the rate or the file."""
    with pytest.raises(AudioError):
        AudioReader(io.BytesIO(wav(0, 1, bytes(96))))


def test_an_unusable_rate_is_named(tmp_path: pathlib.Path) -> None:
    """A header that says 7 Hz can be read, but not meant."""
    path = tmp_path / "odd.wav"
    path.write_bytes(wav(7, 1, bytes(96)))
    with pytest.raises(
        AudioError, match=r"odd\.wav cannot be used\. The sample rate must be 1000 to 768000 Hz, not 7\."
    ):
        AudioReader(path)


def test_files_that_are_text_or_pipes_are_refused(tmp_path: pathlib.Path) -> None:
    """Text mode and pipes get an error that says what to do instead."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, SPEECH, 24_000)
    with path.open() as text, pytest.raises(AudioError, match='is open as text; open it with mode "rb"'):
        AudioReader(text)  # type: ignore[arg-type]
    read, write = os.pipe()
    os.close(write)
    with (
        os.fdopen(read, "rb") as pipe,
        pytest.raises(AudioError, match=r"cannot seek.*io\.BytesIO\(file\.read\(\)\)"),
    ):
        AudioReader(pipe)


def test_a_float_file_with_nan_is_refused_where_it_is(tmp_path: pathlib.Path) -> None:
    """NaN in a file is an AudioError that names the file, when it is reached."""
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.0, 0.1, np.nan], np.float32), 24_000, subtype="FLOAT")
    with (
        AudioReader(path) as reader,
        pytest.raises(AudioError, match=r"nan\.wav cannot be used\. The audio holds nan"),
    ):
        reader.read(100)


class Zeros(io.RawIOBase):
    """A file of any size made of a header and silence, which takes no room."""

    def __init__(self, header: bytes, size: int) -> None:
        self.header, self.size, self.position = header, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self.size - self.position))
        part = self.header[self.position : self.position + count]
        buffer[:count] = part + bytes(count - len(part))
        self.position += count
        return count


def test_two_hours_are_read_in_constant_memory() -> None:
    """A two-hour stereo file of 1.4 GB is read through with less than 4 MiB."""
    size = 2 * 3600 * 48_000 * 4
    header = wav(48_000, 2, b"")[:40] + struct.pack("<I", size)
    source: Any = Zeros(header[:4] + struct.pack("<I", size + 36) + header[8:], size + 44)
    with AudioReader(source) as reader:
        reader.read(48_000)
        tracemalloc.start()
        try:
            frames = 48_000 + sum(len(block) // 4 for block in reader.blocks(24_000))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert frames == reader.frames == 2 * 3600 * 48_000
    assert peak < 4 << 20


WITHOUT = """
import sys
sys.modules["soundfile"] = None
from vivavoce.errors import AudioError
from vivavoce.files import AudioReader
try:
    with AudioReader(sys.argv[1]) as reader:
        print(reader.format, reader.frames, sum(map(len, reader.blocks(1000))), "numpy" in sys.modules)
except AudioError as error:
    print(error)
"""


def without_soundfile(path: pathlib.Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, str(path)], capture_output=True, text=True, check=True
    ).stdout


def test_plain_wav_needs_no_soundfile(tmp_path: pathlib.Path) -> None:
    """PCM16 WAV is read by the standard library where soundfile is missing."""
    path = tmp_path / "speech.wav"
    path.write_bytes(wav(16_000, 2, bytes(6_400)))
    assert without_soundfile(path) == "PCM16 16000 Hz stereo 1600 6400 False\n"


@pytest.mark.parametrize("bits", [8, 24])
def test_other_files_without_soundfile_name_the_extra(tmp_path: pathlib.Path, bits: int) -> None:
    """Anything else says what to install."""
    path = tmp_path / "speech.wav"
    path.write_bytes(wav(16_000, 1, bytes(6_400 * 3), bits=bits))
    assert "needs soundfile" in without_soundfile(path)
    assert 'pip install "vivavoce[files]"' in without_soundfile(path)
