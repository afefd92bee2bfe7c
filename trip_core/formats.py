"""How clips are written, as data: the formats, and what all of their files take.

The same frames give the same bytes: nothing of the day or the machine enters a file.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from torch import Tensor

from .planes import padded_size
from .sound import Sound

#: Frames per second that a file may ask for.
MAX_FPS = 240.0


@dataclass(frozen=True)
class VideoFormat:
    """How one file ending is written: by PyAV when it has a codec, by Pillow otherwise.

    Attributes:
        container: FFmpeg's name, or Pillow's.
        codec: FFmpeg's name of the encoder.
        options: Of the encoder, or of Pillow's ``save``.
        container_options: Of FFmpeg's writer of the container.
        pixel_format: One of ``PIXEL_FORMATS``; pictures have none.
        audio_codec: FFmpeg's name of the encoder of sound; None = no place for it.
        codec_tag: Four letters that name the codec in the file; None = FFmpeg's choice.
        narrow: Options in the place of others where frames are stored less than 64 px wide.
        least_width: Pixels that frames must have, as stored.
        most_fps: Frames per second that players keep up with; None = as many as asked.
    """

    container: str
    codec: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    audio_codec: str | None = None
    codec_tag: str | None = None
    narrow: dict[str, str] = field(default_factory=dict)
    least_width: int = 0
    most_fps: int | None = None

    def stored_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that frames of ``size`` have in the file."""
        return size if self.codec is None else padded_size(size, self.pixel_format)

    def check_rate(self, fps: Fraction) -> None:
        """Refuse a rate that players do not keep up with.

        Raises:
            ValueError: If there are too many frames per second.
        """
        if self.most_fps is not None and fps > self.most_fps:
            raise ValueError(
                f"a {self.container} plays at most {self.most_fps} frames per second; got "
                f"{float(fps):g}, lower fps or choose another format"
            )

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse frames of a (height, width) that the encoder cannot take.

        Raises:
            ValueError: If there are too few pixels in a row.
        """
        if self.stored_size(size)[1] < self.least_width:
            raise ValueError(
                f"{self.codec} needs frames at least {self.least_width} pixels wide; got "
                f"{size[1]}x{size[0]}, enlarge them or choose another format"
            )


#: The file endings that can be written. ``bitexact`` keeps library versions and random ids out;
#: x264's macroblock tree now and then gives other bytes for the same frames on a busy machine; its
#: first frame, the still, is written with twice the precision of those that are predicted from it.
FORMATS: dict[str, VideoFormat] = {
    ".mp4": VideoFormat(
        "mp4",
        "libx264",
        {"crf": "18", "preset": "faster", "x264-params": "mbtree=0:ipratio=2.0"},
        {"movflags": "+faststart", "fflags": "+bitexact"},
        audio_codec="aac",
    ),
    ".webm": VideoFormat(
        "webm",
        "libvpx-vp9",
        {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "0"},
        {"fflags": "+bitexact"},
        audio_codec="libopus",
    ),
    ".webp": VideoFormat("WEBP", options={"quality": "90", "method": "4"}),
    # Its times are hundredths of a second, and players take less than two of them for ten.
    ".gif": VideoFormat("GIF", most_fps=50),
}


def video_format(path: str | os.PathLike[str]) -> VideoFormat:
    """Return how a target is written, from its ending.

    Raises:
        ValueError: If the ending is not one of ``FORMATS``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(
            f"{path} must end in one of {', '.join(FORMATS)}; got {suffix or 'no ending'!r}"
        )
    return FORMATS[suffix]


def check_fps(fps: float) -> Fraction:
    """Return the rate as the fraction that files store.

    Raises:
        ValueError: If it is not above 0 and at most ``MAX_FPS``.
    """
    if not 0 < fps <= MAX_FPS:
        raise ValueError(f"fps must be above 0 and at most {MAX_FPS:.0f}; got {fps}")
    return Fraction(fps).limit_denominator(1001)


@dataclass(frozen=True)
class Extras:
    """What a file carries beside its frames.

    Attributes:
        metadata: Texts by name, stored where each container keeps them.
        sound: What is heard; for containers with an audio codec.
        plays: How often an animated picture plays; 0 is for ever. Videos hold no such number.
        check: Called time and again while frames that waited for the last one are encoded; what it
            raises ends that.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    sound: Sound | None = None
    plays: int = 0
    check: Callable[[], object] = lambda: None


class FrameFile(Protocol):
    """A file that takes frames in order; made with its path, format, rate, frame size, extras."""

    def __init__(
        self, path: Path, format: VideoFormat, fps: Fraction, size: tuple[int, int], extras: Extras
    ) -> None: ...

    def add(self, frame: Tensor) -> None:
        """Append a frame, ``[3, H, W]`` or with alpha ``[4, H, W]``, float32, CPU, 0..1."""
        ...

    def close(self) -> None:
        """Write what is left and close the file."""
        ...

    def abort(self) -> None:
        """Let go of the file, whatever state it is in."""
        ...
