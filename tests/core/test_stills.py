"""Stills: what a file shows is what is read, or one sentence says why not."""

import re
import struct

import numpy as np
import pytest
import torch
from PIL import Image, features

from tests.core.clips import smooth_clip
from trip_core.contact_sheet import contact_sheet
from trip_core.sizes import check_still_size, fit_still
from trip_core.stills import read_still
from trip_core.video_io import read_video


def picture(mode="RGB", size=(40, 30)):
    levels = np.arange(size[0] * size[1] * 3, dtype=np.uint32).reshape(size[1], size[0], 3) % 256
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)


def _tensor(image):
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)


def test_a_png_comes_back_exactly(tmp_path):
    picture().save(tmp_path / "a.png")
    still = read_still(tmp_path / "a.png")
    assert still.shape == (3, 30, 40) and still.dtype == torch.float32
    expected = torch.from_numpy(np.asarray(picture(), dtype=np.float32) / 255).permute(2, 0, 1)
    torch.testing.assert_close(still, expected, rtol=0, atol=0)


def test_alpha_is_composited_over_the_background(tmp_path):
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:, :10] = (200, 100, 50, 255)
    rgba[:, 10:] = (0, 0, 0, 51)  # 20 % black
    Image.fromarray(rgba).save(tmp_path / "a.png")
    still = read_still(tmp_path / "a.png")
    assert torch.allclose(still[:, 0, 0], torch.tensor([200, 100, 50]) / 255)
    assert torch.allclose(still[:, 0, 15], torch.full((3,), 0.8), atol=1e-6)
    black = read_still(tmp_path / "a.png", background=(0.0, 0.0, 0.0))
    assert torch.allclose(black[:, 0, 15], torch.zeros(3), atol=1e-6)


def test_palettes_with_and_without_transparency_are_looked_up(tmp_path):
    indexed = picture().quantize(8)
    indexed.save(tmp_path / "a.png")
    expected = np.asarray(indexed.convert("RGB"), np.float32) / 255
    assert np.allclose(read_still(tmp_path / "a.png").permute(1, 2, 0).numpy(), expected)
    indexed.save(tmp_path / "b.png", transparency=0)
    transparent = read_still(tmp_path / "b.png").permute(1, 2, 0).numpy()
    hidden = np.asarray(indexed) == 0
    assert np.allclose(transparent[hidden], 1) and np.allclose(
        transparent[~hidden], expected[~hidden]
    )


def test_sixteen_bit_greys_keep_their_range(tmp_path):
    ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    still = read_still(tmp_path / "a.png")
    assert still.min() == 0 and still.max() == 1
    assert torch.allclose(still[0], torch.from_numpy(ramp / 65535).float(), atol=1e-6)


@pytest.mark.parametrize(("kind", "bits"), [("<u2", 16), ("<u4", 32), (">u2", 16)])
def test_greys_of_a_tiff_keep_their_range(tmp_path, kind, bits):
    ramp = np.linspace(0, 2**bits - 1, 32 * 32).astype(kind).reshape(32, 32)
    tags = {256: 32, 257: 32, 258: bits, 259: 1, 262: 1, 273: 110, 277: 1, 279: ramp.nbytes}
    order = kind[0]
    header = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    entries = (struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "a.tif").write_bytes(header + b"".join(entries) + bytes(4) + ramp.tobytes())
    still = read_still(tmp_path / "a.tif")
    assert torch.allclose(still[0], torch.from_numpy(ramp / (2**bits - 1)).float(), atol=1e-6)


def test_the_camera_orientation_is_followed(tmp_path):
    upright = picture(size=(40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated by 90 degrees
    upright.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_still(tmp_path / "a.png"), _tensor(upright))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_text("hello"), "not a picture"),
        (lambda p: p.write_bytes(b""), "not a picture"),
        (lambda p: p.mkdir(), "could not be opened"),
        (lambda p: p.unlink(missing_ok=True), "does not exist"),
        (lambda p: picture(size=(1, 1)).save(p, "PNG"), "1x1"),
        (lambda p: picture(size=(20000, 3)).save(p, "PNG"), "20000x3"),
        (lambda p: picture(size=(800, 20)).save(p, "PNG"), "800x20"),
        (lambda p: Image.new("1", (9000, 9000)).save(p, "PNG"), "64 megapixels"),
        (lambda p: Image.new("1", (30000, 12000)).save(p, "PNG"), "pixels"),
        (lambda p: Image.new("F", (64, 64)).save(p, "TIFF"), "floating point.* 8 or 16 bit$"),
        (lambda p: Image.new("I", (64, 64), 9).save(p, "TIFF"), "signed integer.* 8 or 16 bit$"),
        (lambda p: picture().save(p, "DDS"), "not a picture.* give a PNG, JPEG"),
        (lambda p: picture().save(p, "EPS"), "not a picture"),  # Pillow would start Ghostscript
    ],
)
def test_what_is_no_still_is_refused_in_one_sentence(tmp_path, make, words):
    path = tmp_path / "still.png"
    make(path)
    with pytest.raises(ValueError, match=words) as caught:
        read_still(path)
    assert "\n" not in str(caught.value) and "still.png" in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated_pictures_are_refused(tmp_path, kind, keep):
    path = tmp_path / "still"
    noise = torch.randint(0, 256, (96, 96, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.to(torch.uint8).numpy()).save(path, kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ValueError, match="still"):
        read_still(path)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_damaged_avif_pictures_are_refused(tmp_path):
    path = tmp_path / "still.avif"
    picture(size=(96, 96)).save(path)
    assert read_still(path).shape == (3, 96, 96)
    whole = path.read_bytes()
    middle = whole.index(b"mdat") + 8
    path.write_bytes(whole[:middle] + bytes(len(whole) - middle))
    for read in (read_still, read_video):
        with pytest.raises(ValueError, match=r"still.avif is a damaged") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("height", "width", "words"),
    [
        (17, 301, "crop it to 136x17 or scale it to 301x38"),
        (301, 17, "crop it to 17x136 or scale it to 38x301"),
        (100, 40_000, "crop it to 800x100 or scale it to 16376x2047"),
        (8, 300, "make it 128x16, 300x38 or larger"),
        (9, 9, "make it 16x16 or larger"),
        (20_000, 20_000, "scale it down to 8000x8000"),
    ],
)
def test_sizes_of_no_clip_name_the_nearest_ones_of_which_there_are(height, width, words):
    with pytest.raises(ValueError, match=f"{words}$"):
        check_still_size(height, width)
    for nearest in re.findall(r"(\d+)x(\d+)", words):
        check_still_size(*map(int, nearest))


def test_fit_still_sizes():
    still = smooth_clip(1, 60, 90)[0]
    assert fit_still(still, None) is still
    assert fit_still(still, (60, 90)) is still
    assert fit_still(still, 30).shape == (3, 30, 44)  # aspect kept, even sides
    assert fit_still(still, (64, 64)).shape == (3, 64, 64)
    fitted = fit_still(still, (120, 180))
    assert fitted.shape == (3, 120, 180) and fitted.min() >= 0 and fitted.max() <= 1
    # A crop keeps the aspect: a picture that only depends on x loses its left and right.
    ramp = torch.linspace(0, 1, 100).expand(3, 50, 100)
    assert fit_still(ramp, (50, 50))[0, 0, 0] > 0.2
    assert fit_still(ramp, (50, 50), fit="stretch")[0, 0, 0] < 0.05


@pytest.mark.parametrize("size", [0, 8, 20000, (16, 400), (9000, 9000)])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match="the wanted size is"):
        fit_still(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), size)


def test_contact_sheet_shows_every_row():
    clip = smooth_clip(4)
    sheet = contact_sheet(
        [list(clip), list(clip[:2])], ["the camera pans left", "still"], height=32
    )
    assert sheet.mode == "RGB" and sheet.width == 4 * 44 + 4 and sheet.height == 2 * 56 + 4
    with pytest.raises(ValueError, match="one label each"):
        contact_sheet([list(clip)], [])
