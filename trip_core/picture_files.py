"""Clips as pictures, by Pillow: one that is animated, or a folder of them."""

import io
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .formats import Extras, VideoFormat
from .stills import to_bytes

#: A GIF's palette is made from so many frames, of so many pixels a side at most.
_MOSAIC, _TILE = 16, 256


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
                **_metadata_options(self._format.container, self._extras.metadata),
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


class PngSequence:
    """A folder of numbered PNG files, each with the metadata."""

    def __init__(
        self, path: Path, format: VideoFormat, fps: Fraction, size: tuple[int, int], extras: Extras
    ) -> None:
        del format, fps, size
        self._folder, self._count = path, 0
        self._options = _metadata_options("PNG", extras.metadata)
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


def _metadata_options(container: str, metadata: dict[str, str]) -> dict[str, Any]:
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


class _CheckedFile(io.BufferedWriter):
    """A file that calls ``check`` before it takes bytes.

    Pillow turns to each frame once or twice by ``seek`` before it writes the first one; it encodes
    a WebP while it does so, the others between calls of ``write``.
    """

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
