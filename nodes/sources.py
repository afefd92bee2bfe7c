"""Frames on their way into a file: from images, from latents that are decoded as they go, or video.

IMAGE is ``[F, H, W, C]`` in 0..1 on the host's wires; frames here are ``[C, H, W]``.
"""

import contextlib
import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..trip_core.sound import Sound

AUDIO_FITS = ("fit to video", "trim video to audio", "keep")
#: Frames as they are read; closing lets go of what they come from.
Frames = Generator[Tensor, None, None]


@dataclass(frozen=True)
class Source:
    """A clip that can be read frame by frame.

    Attributes:
        num_frames: How many there are.
        frames: Starts reading them, ``[3 or 4, H, W]`` each, 0..1; to be closed.
        held: Whether they lie in memory anyway.
        fps: The clip's own rate, if it has one.
        audio: The clip's own AUDIO, if it has one.
    """

    num_frames: int
    frames: Callable[[], Frames]
    held: bool = True
    fps: float | None = None
    audio: dict[str, Any] | None = None

    def limited(self, num_frames: int) -> "Source":
        """Return the first frames only."""

        def first() -> Frames:
            with contextlib.closing(self.frames()) as frames:
                yield from itertools.islice(frames, num_frames)

        return replace(self, num_frames=min(num_frames, self.num_frames), frames=first)

    def there_and_back(self) -> "Source":
        """Return the clip followed by itself backwards, neither end twice."""

        def both() -> Frames:
            seen: list[Tensor] = []
            with contextlib.closing(self.frames()) as frames:
                for frame in frames:
                    yield frame
                    seen.append(frame if self.held else frame.half())  # half holds 8 bits and more
            for frame in reversed(seen[1:-1]):
                yield frame.float()

        return replace(self, num_frames=max(2 * self.num_frames - 2, self.num_frames), frames=both)


def source(images: Tensor | None, latent: Any, vae: Any, video: Any) -> Source:
    """Return the one clip that is connected.

    A VIDEO is loaded whole by ``get_components`` unless its file certainly gives the same.

    Raises:
        ValueError: If none is, or several are, or a LATENT lacks its VAE.
    """
    given = [
        name
        for name, x in (("images", images), ("latent", latent), ("video", video))
        if x is not None
    ]
    if len(given) != 1:
        have = " and ".join(given) or "nothing"
        raise ValueError(
            f"connect one clip: images, or latent with vae, or video; {have} is connected"
        )
    if images is not None:
        return from_images(images)
    if video is not None:
        from .video_source import streamed

        return streamed(video) or _loaded(video)
    if vae is None:
        raise ValueError("a latent needs its vae to become pictures; connect vae as well")
    from .decode import decoded

    return decoded(latent, vae)


def _loaded(video: Any) -> Source:
    from .video_source import channels_apart

    parts = video.get_components()
    own = "get_stream_source" in vars(type(video))  # others may write a file to have a source
    audio = channels_apart(parts.audio, video.get_stream_source() if own else None)
    return replace(from_images(parts.images), fps=float(parts.frame_rate), audio=audio)


def from_images(images: Tensor) -> Source:
    """Return IMAGE ``[F, H, W, C]`` as a clip.

    Raises:
        ValueError: If it is of another shape, or empty.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"images must be [F, H, W, C] with a frame at least; got {tuple(images.shape)}"
        )
    return Source(len(images), lambda: (frame for frame in images.movedim(-1, 1)))


def without_alpha(frame: Tensor) -> Tensor:
    """Return a frame ``[4, H, W]`` composited over white, as ``[3, H, W]``; others unchanged."""
    if len(frame) != 4:
        return frame[:1].expand(3, -1, -1) if len(frame) == 1 else frame
    return frame[:3] * frame[3:] + (1 - frame[3:])


def sound(audio: dict[str, Any] | None, fit: str) -> Sound | None:
    """Return the host's AUDIO as the core's sound."""
    if audio is None:
        return None
    waveform: Tensor = audio["waveform"]
    if waveform.ndim != 3 or not waveform.shape[-1]:
        raise ValueError(f"audio must be [B, channels, samples]; got {tuple(waveform.shape)}")
    waveform = waveform[0]
    if len(waveform) not in (1, 2, 6):
        waveform = waveform.float().mean(0, keepdim=True)  # no layout has that many: one for all
    keep = "keep" if fit == "keep" else "fit"
    return Sound(waveform.to(torch.float32), int(audio["sample_rate"]), keep)
