"""One clip, one file: what Video Combine does, step by step."""

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..trip_core.codecs import CODECS, Codec
from ..trip_core.formats import Extras, VideoFormat, check_fps
from ..trip_core.planes import PIXEL_FORMATS
from ..trip_core.sound import Sound
from ..trip_core.video_io import VideoWriter
from . import host, host_targets
from .sources import Frames, Source, sound, without_alpha

#: What is shown where a browser cannot play the file itself.
_PROXY = CODECS["mp4 (H.264)"]


@dataclass(frozen=True)
class Wishes:
    """The widgets of Video Combine.

    Attributes:
        fps: Frames per second.
        codec: Name in ``CODECS``.
        crf: Quality, -1 for the format's own.
        pixel_format: "auto" or one of the codec's.
        plays: How often an animated picture plays, 0 for ever.
        pingpong: Play backwards after forwards.
        keep: Save, or only show.
        prefix: File name with folders.
        audio_fit: One of ``AUDIO_FITS``.
    """

    fps: float
    codec: str
    crf: int
    pixel_format: str
    plays: int
    pingpong: bool
    keep: bool
    prefix: str
    audio_fit: str


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: The file, or the folder of pictures.
        name: Its name with folders below the output (or temp) folder.
        fps: Frames per second.
        ui: What the node shows, for the frontend.
    """

    path: Path
    name: str
    fps: float
    ui: dict[str, Any]


def write_clip(clip: Source, wishes: Wishes, audio: dict | None, texts: dict[str, str]) -> Written:
    """Write a clip.

    Args:
        clip: Its frames.
        wishes: How.
        audio: AUDIO to be heard; None = the clip's own, if it has one.
        texts: Metadata by name.

    Raises:
        ValueError: If the wishes contradict each other.
        OSError: If the disk refuses.
    """
    codec = CODECS[wishes.codec]
    fps = clip.fps or wishes.fps
    heard = sound(audio or clip.audio, wishes.audio_fit)
    if wishes.pingpong:
        clip = clip.there_and_back()
    if heard is not None and wishes.audio_fit == "trim video to audio":
        clip = clip.limited(max(math.ceil(heard.seconds * check_fps(fps)), 1))
    if heard is not None and audio is None and codec.format.audio_codec is None:
        heard = None  # a video's own sound stays behind where there is no place for it
    with contextlib.closing(clip.frames()) as frames:
        return _write(frames, clip.num_frames, fps, wishes, heard, texts)


def _write(
    frames: Frames, num_frames: int, fps: float, wishes: Wishes, heard: Sound | None,
    texts: dict[str, str],
) -> Written:  # fmt: skip
    codec, first = CODECS[wishes.codec], next(frames)
    size = (int(first.shape[1]), int(first.shape[2]))
    format = _format(codec, wishes, has_alpha=len(first) == 4)
    place = host_targets.target(wishes.prefix, codec.suffix, size, wishes.keep)
    progress = host.Progress(num_frames)
    extras = Extras(texts, heard, wishes.plays, check=lambda: progress.step(0))
    writers = [VideoWriter(place.path, fps, format, extras)]
    shown = place
    if not codec.plays(format):
        name = place.path.name.rsplit("_", 2)[0]  # without its number
        prefix = str(Path(place.subfolder, f"{name}_preview"))
        shown = host_targets.target(prefix, _PROXY.suffix, size, keep=False)
        writers.append(VideoWriter(shown.path, fps, _PROXY.format, Extras(sound=heard)))
    pictures = []  # of the workflow, beside a file that cannot bring it back
    if texts and not codec.carries_workflow:
        beside = place.path.with_suffix(".png")
        pictures.append(VideoWriter(beside, fps, CODECS["animated PNG"].format, Extras(texts)))
    with _all_or_none([*writers, *pictures]):
        for picture in pictures:
            picture.add(without_alpha(first))
        for frame in itertools.chain([first], frames):
            for writer in writers:
                whole = len(frame) == 4 and _keeps_alpha(codec, writer.format)
                writer.add(frame if whole else without_alpha(frame))
            progress.step()
    ui: dict[str, Any] = {"images": _entries(place, shown, writers[0].num_frames)}
    if shown.path.suffix not in ("", ".gif"):  # a GIF so marked would be shown as a video: empty
        ui["animated"] = (True,)
    name = str(PurePosixPath(place.subfolder, place.path.name))
    return Written(place.path, name, fps, ui)


def _format(codec: Codec, wishes: Wishes, has_alpha: bool) -> VideoFormat:
    chosen = wishes.pixel_format
    if chosen == "auto" and has_alpha:
        chosen = next((name for name in codec.pixel_formats if PIXEL_FORMATS[name].alpha), "auto")
    return codec.with_choices(wishes.crf, chosen)


def _keeps_alpha(codec: Codec, format: VideoFormat) -> bool:
    return PIXEL_FORMATS[format.pixel_format].alpha if format.codec is not None else codec.alpha


@contextlib.contextmanager
def _all_or_none(writers: list[VideoWriter]) -> Iterator[None]:
    """Complete several new files, the first one last; where one fails, none remains.

    Nor do folders that were made for them.
    """
    folders = [folder for writer in writers for folder in writer.path.parents]
    made = [folder for folder in folders if not folder.exists()]  # the inner ones first
    try:
        with contextlib.ExitStack() as files:
            for writer in writers:
                files.enter_context(writer)
            yield
    except BaseException:
        for writer in writers[1:]:
            writer.path.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()
        raise


def _entries(place: host_targets.Target, shown: host_targets.Target, num_frames: int) -> list[dict]:
    """Return what the node shows: the file, its stand-in, or the pictures of a sequence."""
    if not place.path.is_dir():
        return [shown.entry]
    folder = replace(place, subfolder=str(Path(place.subfolder) / place.path.name))
    return [
        replace(folder, path=place.path / f"{index + 1:05}.png").entry
        for index in range(num_frames)
    ]
