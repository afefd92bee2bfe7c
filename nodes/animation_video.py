"""A written clip as the host's VIDEO type, animated pictures and picture sequences included."""

import importlib.util
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..trip_core.stills import read_still
from ..trip_core.video_io import read_video
from .video_source import channels_apart

#: Endings that the host's own VIDEO reads.
_VIDEO_FILES = (".mp4", ".webm")
#: And those whose sound it may take for one channel, and whose pictures no .mp4 can hold.
_EDITING_FILES = (".mov", ".mkv")


def animation_video(path: Path, fps: float) -> Any:
    """Return the clip at ``path`` as VIDEO; nothing is read before it is asked for.

    None in a host without that type.
    """
    if importlib.util.find_spec("comfy_api") is None:
        return None
    from comfy_api.input_impl import VideoFromFile

    if path.suffix in _EDITING_FILES:
        return _editing_video(path)
    if path.suffix in _VIDEO_FILES:
        return VideoFromFile(str(path))

    from comfy_api.input import VideoInput
    from comfy_api.input_impl import VideoFromComponents
    from comfy_api.util import VideoComponents

    class AnimationVideo(VideoInput):
        """What Pillow wrote, decoded when it is used."""

        def get_components(self) -> Any:
            """Decode all frames."""
            if path.is_dir():
                frames = torch.stack([read_still(file) for file in sorted(path.glob("*.png"))])
            else:
                frames = read_video(path).repeat_interleave(_times_shown(path, fps), dim=0)
            rate = Fraction(fps).limit_denominator(1001)
            return VideoComponents(images=frames.movedim(1, -1), audio=None, frame_rate=rate)

        def save_to(self, *args: Any, **options: Any) -> Any:
            """Encode as the host does."""
            return VideoFromComponents(self.get_components()).save_to(*args, **options)

        def as_trimmed(self, *args: Any, **options: Any) -> Any:
            """Trim as the host does; hosts that cannot never ask."""
            return VideoFromComponents(self.get_components()).as_trimmed(*args, **options)

    return AnimationVideo()


def _editing_video(path: Path) -> Any:
    from comfy_api.input_impl import VideoFromComponents, VideoFromFile

    class EditingVideo(VideoFromFile):
        """A file for editing: ProRes or FFV1 with PCM or FLAC."""

        def get_components_internal(self, container: Any) -> Any:
            """Decode all frames, and the sound with its channels apart."""
            parts = super().get_components_internal(container)
            parts.audio = channels_apart(parts.audio, str(path))
            return parts

        def save_to(self, target: Any, *args: Any, **options: Any) -> Any:
            """Copy into a file of this kind, as the host does; encode for others."""
            if isinstance(target, (str, os.PathLike)) and Path(target).suffix != path.suffix:
                encoded = VideoFromComponents(self.get_components())
                return encoded.save_to(target, *args, **options)
            return super().save_to(target, *args, **options)

    return EditingVideo(str(path))


def _times_shown(path: Path, fps: float) -> Tensor:
    """Return how many frames each picture of an animation stands for, ``[F]``.

    Pillow writes frames that are equal to the one before as a longer time of that one.
    """
    ends = [0]
    with Image.open(path) as animation:
        for index in range(getattr(animation, "n_frames", 1)):
            animation.seek(index)
            animation.load()  # a WebP knows its time only then
            ends.append(ends[-1] + animation.info.get("duration", 0))
    frames = (torch.tensor(ends) * fps / 1000).round().long()
    return frames.diff().clamp(min=1)
