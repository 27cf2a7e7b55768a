"""Videos: frames of one file in, frames of another out, by FFmpeg inside the package PyAV (``av``).

The package is optional: `require_av` says how to get it. What is shown when stays as it was: an
output frame has the time of its input frame, and the sound is copied.
"""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from errors import InputError

if TYPE_CHECKING:
    import av


@dataclass(frozen=True)
class Encoding:
    """How frames are stored.

    Args:
        codec:   FFmpeg's name of the encoder
        pixels:  FFmpeg's name of the format of pixels
        options: of the encoder
        halved:  colours are stored at half the size, so that width and height must be even
    """

    codec: str
    pixels: str
    options: dict[str, str]
    halved: bool


# H.264 and VP9 at a quality whose loss is hard to see. Every player and browser knows these pixels.
_H264 = Encoding("libx264", "yuv420p", {"crf": "17"}, halved=True)
_VP9 = Encoding("libvpx-vp9", "yuv420p", {"crf": "22", "b": "0", "row-mt": "1"}, halved=True)
# FFV1 keeps every bit.
_FFV1 = Encoding("ffv1", "bgr0", {}, halved=False)
ENCODINGS = {".mp4": _H264, ".m4v": _H264, ".mov": _H264, ".webm": _VP9, ".mkv": _FFV1}

# Times of output frames are multiples of at most this [s], whatever the rate.
_FINEST = Fraction(1, 10_000)

# Matrices between RGB and stored colours that FFmpeg numbers alike in frames and in conversions.
_MATRICES = (1, 4, 5, 6, 7, 9)


def require_av() -> None:
    """Raise InputError, which says what to install, if PyAV is missing."""
    if importlib.util.find_spec("av") is None:
        raise InputError(
            "videos need the package av (PyAV), not installed here: pip install av, or "
            "pip install -r requirements-deploy.txt"
        )


# --------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Args:
        pixels: H W 3 uint8 RGB, upright
        time:   seconds since the start of the file; None if the file does not say
    """

    pixels: np.ndarray
    time: Fraction | None


class VideoReader:
    """An opened video. Use it in a ``with`` block.

    Attributes:
        rate:  frames per second, the mean where it varies
        count: number of frames as far as the file says so, else None
        audio: the first stream of sound, else None

    Args:
        path:    the file
        threads: of the decoder; 0 = as many as it likes
        setting: what gave the path, for messages

    Raises:
        InputError: PyAV or the file is missing, FFmpeg cannot read it, or it holds no video.
    """

    def __init__(self, path: Path, threads: int = 0, setting: str = "`dataroot`"):
        require_av()
        import av

        self.path, self._where = path, f"{setting} {path}"
        if path.is_dir():
            raise InputError(f"{self._where}: is a folder; give one video")
        if not path.is_file():
            raise InputError(f"{self._where}: no such file")
        try:
            self._container = av.open(str(path), metadata_errors="backslashreplace")
        except (av.FFmpegError, OSError) as error:
            raise InputError(
                f"{self._where}: not a video that can be read ({_reason(error)}); give another"
            ) from None
        self._closing = ExitStack()
        self._closing.callback(self._container.close)
        cover = av.stream.Disposition.attached_pic
        pictures = [s for s in self._container.streams.video if not s.disposition & cover]
        sounds = self._container.streams.audio
        if not pictures:
            self._closing.close()
            found = "only sound" if sounds else "no pictures"
            raise InputError(f"{self._where}: holds {found}; give a video")
        self._stream: av.VideoStream = pictures[0]
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = threads
        self.audio: av.AudioStream | None = sounds[0] if sounds else None
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate = rate if rate and 0 < rate <= 1000 else Fraction(25)
        self.count: int | None = self._stream.frames or None
        # Some formats do not start at zero.
        self._start = Fraction(max(0, self._container.start_time or 0), 1_000_000)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def __iter__(self) -> Iterator[Frame | av.Packet]:
        """Frames as they are shown, and packets of `audio` between them as they are stored.

        Raises:
            InputError: the file is damaged, or holds no frame.
        """
        import av

        wanted = [self._stream, *([self.audio] if self.audio else [])]
        seen = 0
        try:
            for packet in self._container.demux(wanted):
                if packet.stream is not self._stream:
                    if packet.pts is not None:
                        yield self._shifted(packet)
                    continue
                for frame in packet.decode():
                    seen += 1
                    yield self._read(frame)
        except av.FFmpegError as error:
            others = f", or `num_test` {seen} to use those" if seen else ""
            raise InputError(
                f"{self._where}: damaged after {seen} frames ({_reason(error)}); give another "
                f"video{others}"
            ) from None
        if not seen:
            raise InputError(f"{self._where}: holds no frames; give another video")

    def _read(self, frame: av.VideoFrame) -> Frame:
        # Older versions of PyAV look at the matrix of a frame only where source and target differ;
        # the target, RGB, has none.
        named = frame.colorspace in _MATRICES
        matrix = {"src_colorspace": int(frame.colorspace), "dst_colorspace": 5} if named else {}
        pixels = frame.to_ndarray(format="rgb24", **matrix)
        # Telephones store how they were held. FFmpeg gives it in degrees against the clock.
        turns = round(getattr(frame, "rotation", 0) / 90) % 4
        time = None if frame.pts is None else frame.pts * frame.time_base - self._start
        return Frame(np.ascontiguousarray(np.rot90(pixels, turns)), time)

    def _shifted(self, packet: av.Packet) -> av.Packet:
        shift = round(self._start / packet.time_base)
        packet.pts -= shift
        if packet.dts is not None:
            packet.dts -= shift
        return packet


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


# --------------------------------------------------------------------------------------------------
# Writing


def check_output(path: Path, source: Path, setting: str = "`output_path`") -> None:
    """InputError unless ``path`` ends as a video that can be written, and is not ``source``."""
    if path.suffix.lower() not in ENCODINGS:
        *most, last = ENCODINGS
        raise InputError(
            f"{setting} {path}: no name of a video; let it end in {', '.join(most)} or {last}"
        )
    if path.exists() and source.exists() and os.path.samefile(path, source):
        raise InputError(f"{setting} {path}: is the input itself; give another name")


class VideoWriter:
    """A video that is being written. Use it in a ``with`` block, which completes the file.

    Args:
        path:  ends in one of `ENCODINGS`
        rate:  frames per second
        audio: a stream of sound of a `VideoReader` to copy; see `has_audio`
        shown: the name of the file in messages, where ``path`` is a temporary one

    Raises:
        InputError: PyAV is missing, or it cannot write such a file.
        OSError: the file cannot be written, from all methods.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        audio: av.AudioStream | None = None,
        shown: Path | None = None,
    ):
        require_av()
        self._where = f"`output_path` {shown or path}"
        self._encoding = ENCODINGS[path.suffix.lower()]
        self._rate = rate
        # Multiples of 1 / rate are multiples of this too.
        finer = -(-Fraction(1, rate.numerator) // _FINEST)
        self._tick = Fraction(1, rate.numerator * max(1, int(finer)))
        self._last = -1
        self._size: tuple[int, int] | None = None
        self._waiting: list[av.Packet] = []
        with _Errors(self._where):
            self._open(path, audio)

    def _open(self, path: Path, audio: av.AudioStream | None) -> None:
        import av

        movie = path.suffix.lower() in (".mp4", ".m4v", ".mov")
        # The index comes first, so that browsers can play the file while they load it.
        options = {"movflags": "+faststart"} if movie else {}
        self._container = av.open(str(path), "w", options=options)
        encoding = self._encoding
        self._stream = self._container.add_stream(
            encoding.codec, rate=self._rate, options=encoding.options
        )
        self._stream.pix_fmt = encoding.pixels
        self._stream.codec_context.time_base = self._tick
        if encoding.halved:  # say which matrix makes these colours: players guess by the size
            context = self._stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = 1
            context.color_range = 1
        self._audio = None
        if audio and audio.codec_context.name in self._container.supported_codecs:
            self._audio = self._container.add_stream_from_template(audio)

    @property
    def has_audio(self) -> bool:
        """Whether the sound is copied: not every kind of file can hold every kind of sound."""
        return self._audio is not None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            # The file is thrown away; what closing it says is of no interest.
            with suppress(Exception):
                self._container.close()
            return
        with _Errors(self._where):
            if self._size is not None:
                self._container.mux(self._stream.encode())
            self._container.close()

    def write(self, pixels: np.ndarray, time: Fraction | None) -> None:
        """Add a frame.

        Where colours are stored at half the size, odd sides get one more row or column.

        Args:
            pixels: H W 3 uint8 RGB, all of one size
            time:   when it is shown [s]; None: one frame after the last

        Raises:
            InputError: the size is not that of the first frame.
        """
        height, width = pixels.shape[:2]
        if self._encoding.halved and (height % 2 or width % 2):
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._size is None:
            self._size = height, width
            self._stream.height, self._stream.width = pixels.shape[:2]
        elif self._size != (height, width):
            raise InputError(
                f"a frame of {width}x{height} pixels after some of "
                f"{self._size[1]}x{self._size[0]}: a video has one size; give a `preprocess` that "
                "resizes, resize_and_crop"
            )
        with _Errors(self._where):
            frame = self._as_stored(np.ascontiguousarray(pixels))
            frame.pts, frame.time_base = self._position(time), self._tick
            frame.duration = int(1 / self._rate / self._tick)
            self._container.mux(self._stream.encode(frame))
            while self._waiting:
                self._container.mux(self._waiting.pop(0))

    def _as_stored(self, pixels: np.ndarray) -> av.VideoFrame:
        import av

        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        colours = {"dst_colorspace": "itu709", "dst_color_range": 1}
        return frame.reformat(
            format=self._encoding.pixels, **(colours if self._encoding.halved else {})
        )

    def _position(self, time: Fraction | None) -> int:
        """The time of a frame in ticks, after that of the frame before.

        Files may store times in whole milliseconds. Times that are that near to a regular one are
        taken for it, so that a video of one rate keeps it exactly.
        """
        step = 1 / self._rate
        if time is None:
            time = self._last * self._tick + step if self._last >= 0 else Fraction(0)
        regular = round(time / step) * step
        time = regular if abs(regular - time) <= Fraction(1, 1000) else time
        self._last = max(self._last + 1, round(time / self._tick))
        return self._last

    def copy(self, packet: av.Packet) -> None:
        """Add a packet of the sound, if there is any; see `has_audio`."""
        if self._audio is None:
            return
        packet.stream = self._audio
        if self._size is None:  # the file begins with the size of the frames
            self._waiting.append(packet)
            return
        with _Errors(self._where):
            self._container.mux(packet)


class _Errors:
    """FFmpeg's errors of writing: OSError if the disk is at fault, else InputError."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        import av

        if not isinstance(error, (av.FFmpegError, ValueError)) or isinstance(error, InputError):
            return
        number = getattr(error, "errno", None)
        if number is not None and number > 0 and number != errno.EINVAL:
            raise OSError(number, os.strerror(number)) from None
        raise InputError(
            f"{self.where}: cannot be written ({_reason(error)}); .mkv takes the most sizes and "
            "kinds of sound"
        ) from None
