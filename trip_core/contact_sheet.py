"""Contact sheets: clips as rows of frames on one picture."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .stills import to_bytes


def contact_sheet(
    rows: Sequence[Sequence[Tensor]], labels: Sequence[str], height: int = 128
) -> Image.Image:
    """Draw clips as rows of frames, each row under its label.

    Args:
        rows: Per row the frames to show, each ``[3, H, W]``, 0..1.
        labels: One line of text a row, e.g. the prompt.
        height: Height of a frame on the sheet, pixels; the aspect is kept.

    Returns:
        The sheet, an RGB picture.

    Raises:
        ValueError: If there are no rows, an empty row, or as many labels as rows are not given.
    """
    if not rows or not all(len(row) for row in rows) or len(rows) != len(labels):
        raise ValueError(
            f"a contact sheet needs rows of at least one frame and one label each; "
            f"got {len(rows)} rows of {[len(row) for row in rows]} frames and {len(labels)} labels"
        )
    gap, caption = 4, 20
    tiles = [[_tile(frame, height) for frame in row] for row in rows]
    widths = [sum(tile.width + gap for tile in row) + gap for row in tiles]
    sheet = Image.new("RGB", (max(widths), len(rows) * (height + caption + gap) + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    top = gap
    for row, label in zip(tiles, labels, strict=True):
        draw.text((gap, top), label, fill="black", font=font)
        left = gap
        for tile in row:
            sheet.paste(tile, (left, top + caption))
            left += tile.width + gap
        top += height + caption + gap
    return sheet


def _tile(frame: Tensor, height: int) -> Image.Image:
    picture = Image.fromarray(to_bytes(frame.detach().cpu().clamp(0, 1)))
    return picture.resize((max(1, round(picture.width * height / picture.height)), height))
