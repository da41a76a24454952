"""Audio files: any format that `soundfile` reads, and PCM16 WAV that survives a crash of its writer.

Everything here blocks: call it in a thread, or where a few microseconds of disk do no harm. Importing this module
loads neither soundfile nor numpy.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import struct
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from vivavoce.audio import AudioFormat, float32_to_pcm16
from vivavoce.errors import AudioError

if TYPE_CHECKING:
    import wave
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

__all__ = ["AudioReader", "WavWriter"]

_INSTALL = 'pip install "vivavoce[files]"'
# RIFF sizes are 32 bits; 36 of the bytes counted are header.
_MAX_DATA: Final = 0xFFFF_FFFF - 36


class _Decoder(Protocol):
    format: AudioFormat
    frames: int

    def read(self, frames: int) -> bytes: ...

    def close(self) -> None: ...


class AudioReader:
    """An audio file as PCM16 at its own rate and channels, block by block in constant memory.

    `source` is a path, or a binary file that can seek (it stays open). `format` and `frames` (0 where the file does
    not say) describe it. Samples deeper than 16 bits are rounded, floats beyond full scale are clipped.

    `AudioError`: not there, empty, no audio that soundfile knows, more than 32 channels, a rate of 0, NaN, or no
    soundfile installed (a PCM16 WAV is read without it). Threads may share it: a close waits for a read.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self.name = _name_of(source)
        target: str | BinaryIO
        if isinstance(source, str | os.PathLike):
            target = os.fspath(source)
            _check_path(target, self.name)
        else:
            target = source
            _check_file(source, self.name)
        self._lock = threading.Lock()
        self._decoder = _open(target, self.name)
        self.format = self._decoder.format
        self.frames = self._decoder.frames

    def read(self, frames: int) -> bytes:
        """At most so many frames of PCM16; `b""` at the end."""
        with self._lock:
            return self._decoder.read(frames)

    def blocks(self, frames: int) -> Iterator[bytes]:
        """The rest of the file, so many frames at a time."""
        while block := self.read(frames):
            yield block

    def close(self) -> None:
        """Close what this object opened. Idempotent."""
        with self._lock:
            self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _name_of(source: object) -> str:
    if isinstance(source, str | os.PathLike):
        return str(os.fspath(source))
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else f"the {type(source).__name__}"


def _check_path(path: str, name: str) -> None:
    """Tell apart what libsndfile reports as one "System error"."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"Cannot read the audio file {name}: {reason}.") from error
    if size == 0:
        raise AudioError(f"The audio file {name} is empty (0 bytes).")


def _check_file(file: BinaryIO | io.TextIOBase, name: str) -> None:
    if isinstance(file, io.TextIOBase):
        raise AudioError(f'{name} is open as text; open it with mode "rb".')
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        raise AudioError(f"{name} cannot seek, as audio files must; read it first: io.BytesIO(file.read()).")


def _open(target: str | BinaryIO, name: str) -> _Decoder:
    try:
        soundfile = importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: the package without its libsndfile
        decoder = _wave_decoder(target)
        if decoder is None:
            raise AudioError(
                f"Reading {name} needs soundfile, which cannot be imported ({error}); {_INSTALL}"
            ) from error
        return decoder
    try:
        file = soundfile.SoundFile(target)
    except (soundfile.SoundFileError, TypeError, OSError) as error:  # TypeError: a headerless .raw
        hint = "for headerless PCM16 send its bytes, with rate="
        raise AudioError(f"{name} is no audio file that can be read ({error}); {hint}.") from error
    try:
        return _SoundFileDecoder(file, name)
    except AudioError as error:
        file.close()
        raise AudioError(f"{name} cannot be used. {error}") from error


class _SoundFileDecoder:
    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name
        # libsndfile does not scale floats when it is asked for integers, and cuts off the low bits of deep samples.
        self._exact = file.subtype == "PCM_16"
        self.format = AudioFormat(file.samplerate, file.channels)
        # A stream without a length (a WAV or Opus that is still written) says 2**63 - 1.
        self.frames: int = file.frames if file.frames < 1 << 62 else 0

    def read(self, frames: int) -> bytes:
        try:
            if self._exact:
                data: bytes = self._file.read(frames, dtype="int16", always_2d=True).astype("<i2").tobytes()
                return data
            return float32_to_pcm16(self._file.read(frames, dtype="float32", always_2d=True))
        except AudioError as error:
            raise AudioError(f"{self._name} cannot be used. {error}") from error
        except (RuntimeError, OSError) as error:  # SoundFileError is a RuntimeError
            raise AudioError(f"{self._name} is damaged or cannot be read on ({error}).") from error

    def close(self) -> None:
        self._file.close()


def _wave_decoder(target: str | BinaryIO) -> _Decoder | None:
    """The standard library's reader, for PCM16 WAV alone; `None` for anything else."""
    import wave

    start = None if isinstance(target, str) else target.tell()
    try:
        reader = wave.open(target, "rb")  # noqa: SIM115 - closed by the decoder
        if reader.getsampwidth() == 2:
            return _WaveDecoder(reader)
        reader.close()
    except (wave.Error, EOFError):
        pass
    if start is not None and not isinstance(target, str):
        target.seek(start)
    return None


class _WaveDecoder:
    def __init__(self, reader: wave.Wave_read) -> None:
        self._reader = reader
        self.format = AudioFormat(reader.getframerate(), reader.getnchannels())
        self.frames = reader.getnframes()

    def read(self, frames: int) -> bytes:
        data = self._reader.readframes(frames)
        return data[: len(data) - len(data) % self.format.frame_bytes]

    def close(self) -> None:
        self._reader.close()


class WavWriter:
    """A PCM16 WAV file that can be played at any moment of its making, and after a crash or a full disk.

    Samples are appended first and the header is then set to what is there: every half second of audio, by `sync()`
    and by `close()`. So a killed process loses at most the last half second from the header's view, nothing from the
    file. `path` is overwritten. Writes go to the system at once (no buffer of its own) and block as the disk does.

    `AudioError` (code `disk_full` where that is the reason, with the `OSError` as cause): the file cannot be made or
    written, or has reached the 4 GiB that a WAV can hold (code `file_full`). What was written stays playable; the
    writer takes no more and only `close()` makes sense.
    """

    def __init__(self, path: str | os.PathLike[str], format: AudioFormat | None = None) -> None:
        self.path = os.fspath(path)
        self.format = format if format is not None else AudioFormat()
        if self.format.encoding != "pcm16":
            raise AudioError(f"A WavWriter writes PCM16, not {self.format}; convert it first.")
        self._carry = b""
        self._written = 0  # bytes of samples in the file
        self._declared = 0  # ... and in its header
        self._sync_every = self.format.bytes_for(500)
        self._failed: AudioError | None = None
        try:
            self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise _write_error(self.path, error, "nothing was written") from error
        try:
            self._patch_header()
        except OSError as error:
            self._file.close()
            raise _write_error(self.path, error, "nothing was written") from error

    @property
    def frames(self) -> int:
        """Whole frames in the file."""
        return self._written // self.format.frame_bytes

    @property
    def closed(self) -> bool:
        """Whether `close()` was called."""
        return self._file.closed

    def write(self, pcm: bytes | bytearray | memoryview) -> None:
        """Append PCM16, cut anywhere; an incomplete frame waits for its rest."""
        if self._failed is not None:
            raise self._failed
        if self._file.closed:
            raise AudioError(f"{self.path} is closed.")
        data = self._carry + bytes(pcm) if self._carry else bytes(pcm)
        whole = len(data) - len(data) % self.format.frame_bytes
        self._carry = data[whole:]
        room = _MAX_DATA - _MAX_DATA % self.format.frame_bytes - self._written
        try:
            self._append(memoryview(data)[: min(whole, room)])
            if self._written - self._declared >= self._sync_every:
                self._patch_header()
        except OSError as error:
            self._fail(_write_error(self.path, error, self._kept()), error)
        if whole > room:
            self._fail(
                AudioError(
                    f"{self.path} has the 4 GiB that a WAV can hold; begin another.", code="file_full"
                ),
                None,
            )

    def sync(self) -> None:
        """Set the header to all that was written so far."""
        if self._failed is None and not self._file.closed:
            self._patch_header()

    def close(self) -> None:
        """Set the header and close the file. Idempotent; quiet after a write that failed."""
        if self._file.closed:
            return
        try:
            self.sync()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, data: memoryview) -> None:
        position = 0
        while position < len(data):
            count = self._file.write(data[position:])  # may take a part only, when the disk fills up
            position += count
            self._written += count

    def _patch_header(self) -> None:
        size = self._written - self._written % self.format.frame_bytes
        self._file.seek(0)
        header = _header(self.format, size)
        if self._file.write(header) != len(header):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._declared = size
        self._file.seek(0, os.SEEK_END)

    def _kept(self) -> str:
        seconds = self.frames / self.format.rate
        return f"its first {seconds:.1f} s are kept and playable"

    def _fail(self, failure: AudioError, cause: OSError | None) -> None:
        self._failed = failure
        try:
            self._patch_header()  # over bytes the file already has, so that it needs no room
        except OSError as error:
            failure.add_note(f"The header could not be set either: {error}")
        raise failure from cause


def _header(format: AudioFormat, size: int) -> bytes:
    """The canonical 44 bytes: RIFF, fmt (1: PCM) and data."""
    frame = format.frame_bytes
    fmt = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 1, format.channels, format.rate, format.rate * frame, frame, 16
    )
    return struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + fmt + struct.pack("<4sI", b"data", size)


def _write_error(path: str, error: OSError, kept: str) -> AudioError:
    reason = error.strerror or str(error)
    code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return AudioError(f"Cannot write {path}: {reason}; {kept}.", code=code)
