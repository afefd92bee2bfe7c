"""Clips out and in: each file whole under its name, or not there at all.

A clip is written frame by frame into a hidden file beside its target and renamed when it is
complete; a failure or an interrupt on the way removes the hidden file and leaves an older target
as it was. ``formats`` says how each is written.
"""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.reformatter import Interpolation
from PIL import UnidentifiedImageError
from torch import Tensor

from .containers import AvFile
from .formats import Extras, FrameFile, VideoFormat, check_fps, video_format
from .picture_files import PillowFile, PngSequence
from .sizes import check_still_size
from .stills import BROKEN, one_line, open_picture
from .targets import check_writable, hidden_beside


class VideoWriter:
    """Write a clip frame by frame; the file appears under its name only when it is complete.

    Use as a context manager: leaving it normally completes the file, leaving it by an exception
    (Ctrl-C included) removes what was written.

    Example:
        >>> with VideoWriter("ship.mp4", fps=8) as writer:  # doctest: +SKIP
        ...     for frame in frames:  # [3, H, W], 0..1
        ...         writer.add(frame)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float,
        format: VideoFormat | None = None,
        extras: Extras | None = None,
    ) -> None:
        """Check the target; nothing is written before the first frame.

        Args:
            path: Target; its ending chooses the format (see ``formats``). Missing folders are made
                with the first frame, an existing file is replaced at the end.
            fps: Frames per second, above 0, at most ``formats.MAX_FPS``; GIF rounds to 1/100 s.
            format: How it is written; None = as the ending says.
            extras: Metadata, sound and the number of plays.

        Raises:
            ValueError: If the ending or the rate cannot be written, or there is sound for a format
                without.
            OSError: If the target cannot be written.
        """
        self.path = Path(path)
        self.format = video_format(self.path) if format is None else format
        self.extras = extras or Extras()
        if self.extras.sound is not None and self.format.audio_codec is None:
            raise ValueError(
                f"{self.path.name} cannot hold sound; leave the sound out or write a video file, "
                "e.g. .mp4"
            )
        self.fps = check_fps(fps)
        self.format.check_rate(self.fps)
        self.num_frames = 0
        self._size: tuple[int, int] | None = None
        self._file: FrameFile | None = None
        self._hidden = hidden_beside(self.path, self.path.suffix)
        check_writable(self.path)

    def add(self, frames: Tensor) -> None:
        """Append one frame ``[3, H, W]`` or several ``[F, 3, H, W]``; 0..1, values are clipped.

        A fourth channel is alpha; formats without it ignore it.

        Raises:
            ValueError: If the shape is wrong, differs from the first frame's, or values are not
                finite.
            OSError: If the disk refuses.
        """
        if frames.ndim not in (3, 4) or frames.shape[-3] not in (3, 4):
            raise ValueError(f"frames must be [3, H, W] or [F, 3, H, W]; got {tuple(frames.shape)}")
        for frame in frames if frames.ndim == 4 else [frames]:
            self._add_one(frame.detach().to("cpu", torch.float32))

    def _add_one(self, frame: Tensor) -> None:
        size = (int(frame.shape[1]), int(frame.shape[2]))
        if self._size is None:
            check_still_size(*size, name="the frame")
            self._size = size
        elif size != self._size:
            raise ValueError(
                f"frame {self.num_frames} is {size[1]}x{size[0]} pixels but the clip is "
                f"{self._size[1]}x{self._size[0]}; all frames of a clip have one size"
            )
        # By NumPy, here and in ``planes``: PyTorch's kernels that a program has not used yet bring
        # a megabyte of their code into its memory.
        pixels = frame.numpy()
        if not np.isfinite(pixels).all():
            raise ValueError(
                f"frame {self.num_frames} holds values that are not finite numbers; "
                "nothing was written"
            )
        with self._disk_errors():
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _opener(self.format)(
                    self._hidden, self.format, self.fps, size, self.extras
                )
            # One pass, and one copy: into planes, whatever order the frame lies in.
            planes = np.clip(pixels, 0, 1, out=np.empty(pixels.shape, np.float32))
            self._file.add(torch.from_numpy(planes))
        self.num_frames += 1

    def close(self) -> None:
        """Complete the file and give it its name.

        Raises:
            ValueError: If no frame was added.
            OSError: If the disk refuses; what was written is removed.
        """
        if self._file is None:
            raise ValueError(f"no frame was given for {self.path}; a clip needs at least one")
        try:
            with self._disk_errors():
                self._file.close()
                os.replace(self._hidden, self.path)
        except BaseException:
            self.abort()
            raise
        self._file = None

    def abort(self) -> None:
        """Remove what was written; an older file under the target's name stays as it was."""
        try:
            if self._file is not None:
                self._file.abort()
        finally:
            self._file = None
            if self._hidden.is_dir():
                shutil.rmtree(self._hidden)
            else:
                self._hidden.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, FFmpegError) as error:
            raise OSError(f"{self.path} could not be written: {one_line(error)}") from None

    def __enter__(self) -> "VideoWriter":
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the file, or remove it when an exception passes."""
        if kind is None:
            self.close()
        else:
            self.abort()


def _opener(format: VideoFormat) -> type[FrameFile]:
    if format.codec is not None:
        return AvFile
    return PngSequence if format.container == "PNG sequence" else PillowFile


def write_video(path: str | os.PathLike[str], frames: Iterable[Tensor] | Tensor, fps: float) -> int:
    """Write a whole clip; see ``VideoWriter``.

    Args:
        path: Target, ``.mp4``, ``.webm``, ``.webp`` or ``.gif``.
        frames: Frames ``[3, H, W]``, or stacks of frames ``[F, 3, H, W]``, 0..1; consumed one
            by one, so a generator never needs the whole clip in memory.
        fps: Frames per second.

    Returns:
        The number of frames written.
    """
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.add(frame)
    return writer.num_frames


def read_video(path: str | os.PathLike[str], num_frames: int | None = None) -> Tensor:
    """Read a clip (any container that FFmpeg knows, animated WebP and GIF).

    Args:
        path: Of the file.
        num_frames: So many frames from its beginning at most; None = all.

    Returns:
        Its frames, ``[F, 3, H, W]``, float32, 0..1.

    Raises:
        ValueError: If the file is missing, damaged or holds no video.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the path of a video")
    try:
        with open_picture(path) as animation:
            frames = []
            for index in range(getattr(animation, "n_frames", 1))[:num_frames]:
                animation.seek(index)
                frames.append(np.asarray(animation.convert("RGB")))
    except UnidentifiedImageError:
        frames = _decode(path, num_frames)
    except BROKEN as error:
        raise ValueError(
            f"{path} is a damaged or truncated animation ({one_line(error)}); get it again"
        ) from None
    video = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)  # [F, 3, H, W]
    return video.to(torch.float32) / 255


def _decode(path: Path, num_frames: int | None) -> list[np.ndarray]:
    try:
        with av.open(f"file:{path.absolute()}") as container:
            pictures = itertools.islice(container.decode(video=0), num_frames)
            frames = [_rgb24(frame) for frame in pictures]
    except (OSError, IndexError, FFmpegError) as error:
        raise ValueError(f"{path} is not a video that can be read: {one_line(error)}") from None
    if not frames:
        raise ValueError(f"{path} holds no video frames; give the path of a video")
    return frames


def _rgb24(frame: av.VideoFrame) -> np.ndarray:
    """Return ``[H, W, 3]`` uint8; the frame's own colour tags decide the matrix."""
    if frame.format.name == "yuv420p":
        # FFmpeg's short way to RGB repeats chroma samples (10 dB worse on soft colours).
        frame = frame.reformat(format="yuv444p", interpolation=Interpolation.BICUBIC)
    return frame.reformat(format="rgb24").to_ndarray()
