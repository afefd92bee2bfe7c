"""Video containers, by PyAV.

Encoders run with a fixed number of threads: the same frames give the same bytes.

Colour: YUV files are BT.709, limited range, tagged as such (players guess otherwise), converted
from float with one rounding (see ``planes``).
"""

import contextlib
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError
from av.video.stream import VideoStream
from torch import Tensor

from .formats import Extras, VideoFormat
from .planes import PIXEL_FORMATS, fill, planes
from .sound import SoundTrack

#: Same bytes everywhere ask for a thread count that does not follow the machine's.
_ENCODER_THREADS = 4
#: Frames stored less wide than this, a block of H.265, are written with ``VideoFormat.narrow``.
_NARROW = 64
#: Colour tags by their numbers in ITU-T H.273 (matrix, primaries, transfer) and FFmpeg (range).
_BT709, _LIMITED = 1, 1


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
