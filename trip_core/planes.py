"""Frames as the planes of a video's pixel format: one conversion from float, one rounding.

YUV is BT.709, limited range (ITU-R BT.709-6, items 3.2-3.4: Y' = .2126 R' + .7152 G' + .0722 B',
luma 16..235, chroma 16..240 at 8 bits). Odd sides gain one replicated row or column where chroma is
halved. Halved chroma is sited left in a row and in the middle of two rows, as H.264 assumes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PixelFormat:
    """How a pixel is stored.

    Attributes:
        bits: Bits of a value.
        chroma: Pixels per chroma value along (row, column); None for RGB.
        alpha: Whether transparency is stored.
        packed: RGB in one plane (blue, green, red, alpha) instead of three.
    """

    bits: int = 8
    chroma: tuple[int, int] | None = (2, 2)
    alpha: bool = False
    packed: bool = False


#: R'G'B' 0..1 to 8-bit Y', Cb, Cr: the weights of each, and its offset.
_BT709_LIMITED = (
    ((219 * 0.2126, 219 * 0.7152, 219 * 0.0722), 16),
    ((-224 * 0.2126 / 1.8556, -224 * 0.7152 / 1.8556, 224 * 0.9278 / 1.8556), 128),
    ((224 * 0.7874 / 1.5748, -224 * 0.7152 / 1.5748, -224 * 0.0722 / 1.5748), 128),
)

#: The pixel formats that can be written, under FFmpeg's names.
PIXEL_FORMATS: dict[str, PixelFormat] = {
    "yuv420p": PixelFormat(),
    "yuv422p": PixelFormat(chroma=(2, 1)),
    "yuv444p": PixelFormat(chroma=(1, 1)),
    "yuv420p10le": PixelFormat(10),
    "yuv422p10le": PixelFormat(10, (2, 1)),
    "yuv444p10le": PixelFormat(10, (1, 1)),
    "yuva420p": PixelFormat(alpha=True),
    "yuva444p10le": PixelFormat(10, (1, 1), alpha=True),
    "bgr0": PixelFormat(chroma=None, packed=True),
    "bgra": PixelFormat(chroma=None, alpha=True, packed=True),
    "gbrp16le": PixelFormat(16, None),
}


def padded_size(size: tuple[int, int], name: str) -> tuple[int, int]:
    """Return the (height, width) that a frame of ``size`` is stored at."""
    across, down = PIXEL_FORMATS[name].chroma or (1, 1)
    return size[0] + -size[0] % down, size[1] + -size[1] % across


def planes(frame: Tensor, name: str) -> list[np.ndarray]:
    """Return the planes of a frame.

    Args:
        frame: ``[3, H, W]`` or ``[4, H, W]`` (with alpha), float32 on the CPU, 0..1; fastest where
            it lies in this order in memory.
        name: One of ``PIXEL_FORMATS``.

    Returns:
        Arrays ``[h, w]`` of uint8, or little-endian uint16 above 8 bits, in FFmpeg's order; one
        array ``[H, 4 W]`` for packed formats.
    """
    kind = PIXEL_FORMATS[name]
    if kind.chroma is None:
        red, green, blue = frame[:3]
        if kind.packed:
            alpha = frame[3] if len(frame) == 4 else torch.ones_like(red)
            pixels = torch.stack((blue, green, red, alpha), dim=-1).flatten(1)  # [H, 4 W]
            return [_integers(pixels * 255, kind.bits)]
        return [_integers(plane * (2**kind.bits - 1), kind.bits) for plane in (green, blue, red)]
    height, width = padded_size((frame.shape[1], frame.shape[2]), name)
    pad = (0, width - frame.shape[2], 0, height - frame.shape[1])
    if any(pad):
        frame = F.pad(frame[None], pad, mode="replicate")[0]
    unit = 2 ** (kind.bits - 8)
    luma, *chroma = _BT709_LIMITED
    out = [_integers(_mixed(frame, *luma, unit), kind.bits)]
    for channel in chroma:
        values = _fewer(_mixed(frame, *channel, unit), *kind.chroma)
        out.append(_integers(values, kind.bits))
    if kind.alpha:
        alpha = frame[3] if len(frame) == 4 else torch.ones_like(frame[0])
        out.append(_integers(alpha * (2**kind.bits - 1), kind.bits))
    return out


def fill(picture: Any, arrays: list[np.ndarray]) -> None:
    """Copy planes into a PyAV frame, whose rows may be longer than ours."""
    for plane, array in zip(picture.planes, arrays, strict=True):
        rows = array.view(np.uint8).reshape(len(array), -1)
        if plane.line_size != rows.shape[1]:
            wide = np.zeros((len(rows), plane.line_size), np.uint8)
            wide[:, : rows.shape[1]] = rows
            rows = wide
        # FFmpeg may keep spare rows below the picture; they are never read.
        spare = plane.buffer_size - rows.size
        plane.update(rows.tobytes() + bytes(spare) if spare > 0 else np.ascontiguousarray(rows))


def _mixed(frame: Tensor, weights: tuple[float, float, float], offset: int, unit: int) -> Tensor:
    """Return red, green and blue ``[H, W]``, weighted and added up, in units of 1/``unit``."""
    # Number by number and not as a product of matrices, which starts a library of its own.
    red, green, blue = frame[:3]
    first, second, third = (weight * unit for weight in weights)
    return (red * first).add_(green, alpha=second).add_(blue, alpha=third).add_(offset * unit)


def _fewer(chroma: Tensor, across: int, down: int) -> Tensor:
    """Return chroma ``[H, W]`` with fewer values in a column (mean of 2) and row (1 2 1)."""
    if down == 2:
        chroma = (chroma[0::2] + chroma[1::2]).mul_(0.5)
    if across == 1:
        return chroma
    middle, right = chroma[:, 0::2], chroma[:, 1::2]
    left = np.concatenate((chroma[:, :1], right[:, :-1]), axis=1)
    return torch.from_numpy(left).add_(right).mul_(0.25).add_(middle, alpha=0.5)


def _integers(values: Tensor, bits: int) -> np.ndarray:
    """Return values rounded to the nearest integer, as the format stores them."""
    array = values.numpy()
    return np.rint(array, out=array).astype(np.uint8 if bits == 8 else "<u2")
