"""How frames become files: video containers by PyAV, animated pictures by Pillow.

The same frames give the same bytes: encoders run with a fixed number of threads, and nothing of
the day or the machine enters the file.

Colour: YUV files are BT.709, limited range, tagged as such (players guess otherwise), converted
from float with one rounding (see ``planes``).
"""

import contextlib
import io
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
from av.error import FFmpegError
from av.video.stream import VideoStream
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .planes import PIXEL_FORMATS, fill, padded_size, planes
from .sound import Sound, SoundTrack
from .stills import to_bytes

#: Same bytes everywhere ask for a thread count that does not follow the machine's.
_ENCODER_THREADS = 4
#: A GIF's palette is made from so many frames, of so many pixels a side at most.
_MOSAIC, _TILE = 16, 256
#: Frames stored less wide than this, a block of H.265, are written with ``VideoFormat.narrow``.
_NARROW = 64
#: Colour tags by their numbers in ITU-T H.273 (matrix, primaries, transfer) and FFmpeg (range).
_BT709, _LIMITED = 1, 1


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


class AvFile:
    """A container with a video stream; frames leave for the disk as they are encoded."""

    def __init__(
        self, path: Path, format: VideoFormat, fps: Fraction, size: tuple[int, int], extras: Extras
    ) -> None:
        assert format.codec is not None
        format.check_size(size)
        options = dict(format.container_options)
        if extras.metadata and "movflags" in options:
            options["movflags"] += "+use_metadata_tags"  # else only well-known names are kept
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        self._container = av.open(
            f"file:{path.absolute()}",
            "w",
            format=format.container,
            container_options=options,
        )
        self._container.metadata.update(extras.metadata)
        height, width = format.stored_size(size)
        encoding = format.options | (format.narrow if width < _NARROW else {})
        stream = self._container.add_stream(format.codec, rate=fps, options=encoding)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = height, width
        stream.pix_fmt = format.pixel_format
        context = stream.codec_context
        context.thread_count = _ENCODER_THREADS
        context.thread_type = "FRAME"
        if format.codec_tag is not None:
            context.codec_tag = format.codec_tag
        self._is_yuv = PIXEL_FORMATS[format.pixel_format].chroma is not None
        if self._is_yuv:
            context.color_range = _LIMITED
            context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._stream, self._format, self._count = stream, format, 0
        self._sound = None
        if extras.sound is not None:
            assert format.audio_codec is not None
            self._sound = SoundTrack(self._container, format.audio_codec, extras.sound, fps)

    def add(self, frame: Tensor) -> None:
        """Encode the next frame."""
        picture = av.VideoFrame(self._stream.width, self._stream.height, self._format.pixel_format)
        fill(picture, planes(frame, self._format.pixel_format))
        if self._is_yuv:
            picture.color_range, picture.colorspace = _LIMITED, _BT709
        picture.pts = self._count
        picture.time_base = 1 / self._stream.codec_context.framerate
        self._count += 1
        self._container.mux(self._stream.encode(picture))
        if self._sound is not None:
            self._sound.add_frame()

    def close(self) -> None:
        """Encode what waits in the encoders and write the index."""
        packets = self._stream.encode(None)
        if self._count <= 2:  # too few to change their order; x265 then gives any number as dts
            for packet in packets:
                packet.dts = packet.pts
        self._container.mux(packets)
        if self._sound is not None:
            self._sound.close()
        self._container.close()

    def abort(self) -> None:
        """Close without a word."""
        # Closing writes a trailer, which fails again on the disk that failed before.
        with contextlib.suppress(OSError, FFmpegError):
            self._container.close()


class PillowFile:
    """An animated picture; Pillow wants all frames at once, so 8-bit frames wait in memory."""

    def __init__(
        self, path: Path, format: VideoFormat, fps: Fraction, size: tuple[int, int], extras: Extras
    ) -> None:
        del size
        self._path, self._format, self._fps, self._extras = path, format, fps, extras
        self._frames: list[Image.Image] = []

    def add(self, frame: Tensor) -> None:
        """Keep the next frame, in 8 bits."""
        self._frames.append(Image.fromarray(to_bytes(frame)))

    def close(self) -> None:
        """Write all frames; those equal to the one before become a longer time of that one."""
        if self._format.container == "GIF":
            palette = _watched(lambda: _common_palette(self._frames), self._extras.check)
            for index, frame in enumerate(self._frames):
                self._extras.check()
                self._frames[index] = frame.quantize(palette=palette)
        # Times are rounded as ends, not as lengths, so that a long clip keeps its pace; GIF
        # counts hundredths of a second, WebP and APNG thousandths.
        unit = 10 if self._format.container == "GIF" else 1
        ends = [round(i * 1000 / self._fps / unit) * unit for i in range(len(self._frames) + 1)]
        for frame in self._frames:
            frame.seek = _checked(self._extras.check, frame.seek)
        with _CheckedFile(io.FileIO(self._path, "xb")) as file:
            file.check = self._extras.check
            self._frames[0].save(
                file,
                format=self._format.container,
                save_all=True,
                append_images=self._frames[1:],
                duration=[end - start for start, end in itertools.pairwise(ends)],
                **self._loop(),
                **metadata_options(self._format.container, self._extras.metadata),
                **{key: int(value) for key, value in self._format.options.items()},
            )

    def abort(self) -> None:
        """Forget the frames."""
        self._frames.clear()

    def _loop(self) -> dict[str, int]:
        """Return how often the animation plays; GIF counts the repeats after the first time."""
        plays = self._extras.plays
        if self._format.container != "GIF":
            return {"loop": plays}
        return {} if plays == 1 else {"loop": max(plays - 1, 0)}


# Pillow turns to each frame once or twice by ``seek`` before it writes the first one; it encodes
# a WebP while it does so, the others between calls of ``write``.


class _CheckedFile(io.BufferedWriter):
    """A file that calls ``check`` before it takes bytes."""

    check: Callable[[], object]

    def write(self, buffer: Any, /) -> int:
        """Write, unless ``check`` raises."""
        self.check()
        return super().write(buffer)


def _watched(work: Callable[[], Image.Image], check: Callable[[], object]) -> Image.Image:
    """Return what ``work`` returns; ``check`` is called while it takes long.

    A palette of noisy pictures takes Pillow 20 seconds. What ``check`` raises does not wait for it.
    """
    pool = ThreadPoolExecutor(1)
    result = pool.submit(work)
    pool.shutdown(wait=False)
    while not wait([result], timeout=0.1).done:
        check()
    return result.result()


def _checked(check: Callable[[], object], seek: Callable[[int], None]) -> Any:
    def checked(frame: int) -> None:
        check()
        seek(frame)

    return checked


def _common_palette(frames: list[Image.Image]) -> Image.Image:
    """Return 256 colours for a whole clip: a palette of each frame's own would flicker.

    They are chosen from a mosaic of frames spread over the clip, so that colours that come late
    have their places too, by maximum coverage: median cut gives them to large areas, and a red
    flag or the sun loses its own.

    Args:
        frames: In RGB.
    """
    last = len(frames) - 1
    spread = sorted({round(k * last / (_MOSAIC - 1)) for k in range(_MOSAIC)})
    width, height = (min(side, _TILE) for side in frames[0].size)
    mosaic = Image.new("RGB", (width, height * len(spread)))
    for row, index in enumerate(spread):
        tile = frames[index].resize((width, height), Image.Resampling.NEAREST)
        mosaic.paste(tile, (0, row * height))
    return mosaic.quantize(256, method=Image.Quantize.MAXCOVERAGE)


class PngSequence:
    """A folder of numbered PNG files, each with the metadata."""

    def __init__(
        self, path: Path, format: VideoFormat, fps: Fraction, size: tuple[int, int], extras: Extras
    ) -> None:
        del format, fps, size
        self._folder, self._count = path, 0
        self._options = metadata_options("PNG", extras.metadata)
        path.mkdir()

    def add(self, frame: Tensor) -> None:
        """Write the next frame."""
        self._count += 1
        name = self._folder / f"{self._count:05}.png"
        Image.fromarray(to_bytes(frame)).save(name, compress_level=4, **self._options)

    def close(self) -> None:
        """Nothing is left to write."""

    def abort(self) -> None:
        """Nothing is held open."""


def metadata_options(container: str, metadata: dict[str, str]) -> dict[str, Any]:
    """Return what Pillow's ``save`` needs to store texts in a picture.

    Text chunks in a PNG; in a WebP, camera tags from 0x0110 downwards, each ``name:text`` (where
    ComfyUI looks for them); a GIF has no place that is read.
    """
    if not metadata or container == "GIF":
        return {}
    if container == "PNG":
        chunks = PngInfo()
        for name, text in metadata.items():
            chunks.add_text(name, text)
        return {"pnginfo": chunks}
    tags = Image.Exif()
    for tag, (name, text) in zip(range(0x0110, 0, -1), metadata.items(), strict=False):
        tags[tag] = f"{name}:{text}"
    return {"exif": tags}
