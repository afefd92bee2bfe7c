"""A VIDEO read frame by frame, where that is certain to be what the host would load whole.

A host may trim, crop, turn or convert what the file behind a VIDEO holds, each version in its own
way. So the file must be as long and as large as the VIDEO says it is, and the host's own reader is
tried on it, with noise in the place of the pictures: what it makes of the noise must be, bit for
bit, what is made of frames here. It reads the rate and the sound on that occasion; sound that it
did not take apart is read here.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from .sources import Frames, Source

#: 8 bits, no alpha. Hosts disagree about others.
_FORMATS = ("yuv420p", "yuvj420p")
#: What a VIDEO's class must say itself: inherited, it could be of something else.
_OWN = {"get_stream_source", "get_components", "get_components_internal"}
#: Raised by a file or a host of another kind; what is wrong, if it is, ``get_components`` says.
_OTHERWISE = (
    AttributeError, FFmpegError, IndexError, OSError, StopIteration, TypeError, ValueError
)  # fmt: skip


def streamed(video: Any) -> Source | None:
    """Return a VIDEO as a clip read from its file, or None where it must be loaded whole."""
    if not vars(type(video)).keys() >= _OWN:
        return None
    path = video.get_stream_source()
    if not isinstance(path, str) or not Path(path).is_file():
        return None
    try:
        num_frames = _count(path, video.get_dimensions(), video.get_duration())
        if not num_frames:
            return None
        noise = _noise(path)
        with av.open(path) as container:
            parts = video.get_components_internal(_Rehearsal(container, noise))
        if not torch.equal(parts.images, _pixels(noise)[None]):
            return None
    except _OTHERWISE:
        return None
    audio = channels_apart(parts.audio, path)
    return Source(
        num_frames, lambda: _frames(path), False, fps=float(parts.frame_rate), audio=audio
    )


def channels_apart(audio: dict[str, Any] | None, path: Any) -> dict[str, Any] | None:
    """Return the AUDIO that a host read from a file, with a row for each channel, in -1..1.

    PCM and FLAC lie in a file as integers, the channels by turns, and hosts may take them for one
    channel, as they lie. AUDIO that is just that is read again; other AUDIO (AAC and Opus have rows
    of their own) is returned as it is.
    """
    if audio is None or not isinstance(path, str) or not Path(path).is_file():
        return audio
    try:
        with av.open(path) as container:
            for stream in container.streams.audio:
                if stream.format.name == "fltp":
                    continue
                container.seek(0)
                frames = list(container.decode(stream))
                as_it_lies = np.concatenate([frame.to_ndarray() for frame in frames], 1)
                if np.array_equal(audio["waveform"].numpy(), as_it_lies[None]):
                    resampler = av.AudioResampler(format="fltp")
                    rows = [r.to_ndarray() for f in (*frames, None) for r in resampler.resample(f)]
                    return {**audio, "waveform": torch.from_numpy(np.concatenate(rows, 1))[None]}
    except _OTHERWISE:
        pass
    return audio


class _Rehearsal:
    """A container as the host's reader sees it: its film is one picture, its sound is whole."""

    def __init__(self, container: Any, picture: av.VideoFrame) -> None:
        self._container, self._picture = container, picture

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def decode(self, *streams: Any, **kinds: Any) -> Iterator[Any]:
        """Return the picture, where pictures are asked for."""
        if "video" in kinds or any(stream.type == "video" for stream in streams):
            return iter([self._picture])
        return self._container.decode(*streams, **kinds)

    def demux(self, *streams: Any) -> Iterator[Any]:
        """Yield packets: one with the picture, and all that hold none."""
        for stream in streams:
            if stream.type == "video":
                yield SimpleNamespace(stream=stream, decode=lambda: [self._picture])
        for packet in self._container.demux(*streams):
            if packet.stream.type != "video":
                yield packet


def _count(path: str, size: tuple[int, int], seconds: float) -> int:
    """Return how many frames a file holds; 0 if it is not all of the VIDEO, or is unusual.

    A frame that is not shown, or is before the start, is left out by some hosts and not by others.
    """
    with av.open(path) as container:
        stream = container.streams.video[0]
        plain = stream.format.name in _FORMATS and "alpha_mode" not in stream.metadata
        whole = (stream.width, stream.height) == tuple(size)
        if not plain or not whole or (container.duration or 0) / av.time_base != seconds:
            return 0
        packets = 0
        for packet in container.demux(stream):
            odd = packet.pts is None or packet.pts < 0 or packet.is_discard or packet.is_corrupt
            if odd and packet.size:  # the last one, without size, says that the file ends
                return 0
            packets += packet.size > 0
        return packets


def _noise(path: str) -> av.VideoFrame:
    """Return a file's first frame, colour tags and turn and all, with noise for its pixels.

    Its own pixels may be black, which all ways of reading agree about.
    """
    with av.open(path) as container:
        frame = next(container.decode(video=0))
    generator = np.random.default_rng(0)
    for plane in frame.planes:
        plane.update(generator.bytes(plane.buffer_size))
    return frame


def _frames(path: str) -> Frames:
    """Decode a file, ``[3, H, W]`` each; it is closed when the reader is."""
    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield _pixels(frame).movedim(-1, 0)


def _pixels(frame: av.VideoFrame) -> Tensor:
    """Return a frame as hosts put it into IMAGE, ``[H, W, 3]``, 0..1."""
    return torch.from_numpy(frame.to_ndarray(format="rgb24")) / 255
