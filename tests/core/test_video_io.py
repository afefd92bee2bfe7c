"""Laws of stills and clips on disk: what is written is what comes back, whole or not at all."""

import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, features

from trip_core.codecs import CODECS, available_codecs
from trip_core.encoders import FORMATS
from trip_core.video_io import (
    VideoWriter,
    check_still_size,
    check_writable,
    contact_sheet,
    fit_still,
    read_still,
    read_video,
    write_video,
)


def smooth_clip(num_frames=6, height=64, width=80, seed=0):
    """Soft colours that shift: what a codec should keep well."""
    generator = torch.Generator().manual_seed(seed)
    base = F.interpolate(
        torch.rand(1, 3, 8, 10, generator=generator), size=(height, width), mode="bicubic"
    )[0].clamp(0, 1)
    return torch.stack([torch.roll(base, i, dims=2) for i in range(num_frames)])


def psnr(a, b):
    return float(-10 * (a - b).square().mean().log10())


def picture(mode="RGB", size=(40, 30)):
    levels = np.arange(size[0] * size[1] * 3, dtype=np.uint32).reshape(size[1], size[0], 3) % 256
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)


# Stills


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


def _tensor(image):
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)


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


# Clips


@pytest.mark.parametrize(
    ("suffix", "least"), [(".mp4", 33), (".webm", 30), (".webp", 31), (".gif", 22)]
)
def test_a_clip_comes_back(tmp_path, suffix, least):
    clip = smooth_clip()
    assert write_video(tmp_path / f"a{suffix}", iter(clip), fps=8) == 6
    back = read_video(tmp_path / f"a{suffix}")
    assert back.shape == clip.shape
    assert psnr(back, clip) > least
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_frames_give_the_same_bytes(tmp_path, suffix):
    clip = smooth_clip()
    write_video(tmp_path / f"a{suffix}", clip, fps=12.5)
    write_video(tmp_path / f"b{suffix}", (frame for frame in clip), fps=12.5)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_sizes_are_padded_by_replication(tmp_path, suffix):
    frame = torch.linspace(0, 1, 33).expand(3, 31, 33)
    write_video(tmp_path / f"a{suffix}", [frame] * 2, fps=8)
    back = read_video(tmp_path / f"a{suffix}")
    assert back.shape == (2, 3, 32, 34)
    assert (back[..., :31, 33] - 1).abs().max() < 0.03 and (
        back[..., 31, :33] - frame[0, 0]
    ).abs().max() < 0.03


@pytest.mark.parametrize(
    "colour", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0.5), (0.2, 0.4, 0.7)]
)
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".webp"])
def test_flat_colours_survive_within_one_level_and_a_bit(tmp_path, colour, suffix):
    frame = torch.tensor(colour, dtype=torch.float32).view(3, 1, 1).expand(3, 32, 32)
    write_video(tmp_path / f"a{suffix}", [frame], fps=8)
    mean = read_video(tmp_path / f"a{suffix}").mean(dim=(0, 2, 3))
    assert (mean - torch.tensor(colour)).abs().max() < 1.6 / 255


def test_mp4_says_what_it_is(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_clip(9), fps=7.5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert context.name == "h264" and context.pix_fmt == "yuv420p"
        assert stream.frames == 9 and stream.average_rate == 7.5
        assert container.duration == pytest.approx(9 / 7.5 * 1e6, rel=1e-3)
        # BT.709 matrix, primaries and transfer, limited range.
        assert (
            int(context.colorspace) == int(context.color_primaries) == int(context.color_trc) == 1
        )
        assert int(context.color_range) == 1
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # faststart: plays while it loads


def test_animations_keep_their_pace(tmp_path):
    for suffix in (".gif", ".webp"):
        write_video(tmp_path / f"a{suffix}", smooth_clip(12), fps=12)
        with Image.open(tmp_path / f"a{suffix}") as animation:
            total = 0
            for index in range(animation.n_frames):
                animation.seek(index)
                animation.load()
                total += animation.info["duration"]
            assert animation.info["loop"] == 0
        assert total == pytest.approx(1000, abs=1)


def test_a_gif_of_more_frames_than_players_show_is_refused(tmp_path):
    with pytest.raises(ValueError, match="50") as caught:
        write_video(tmp_path / "a.gif", smooth_clip(3), fps=50.5)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    for fps in (29.97, 50):
        write_video(tmp_path / "a.gif", smooth_clip(7), fps)
        with Image.open(tmp_path / "a.gif") as animation:
            for index in range(animation.n_frames):
                animation.seek(index)
                assert animation.info["duration"] >= 20  # shorter ones are played as 100 ms
    write_video(tmp_path / "a.webp", smooth_clip(3), fps=60)


_NARROW = """
import torch
from trip_core.codecs import CODECS
from trip_core.video_io import VideoWriter
codec = CODECS["mp4 (H.265)"]
for size in (17, 33), (16, 16), (64, 48), (64, 66):
    for kind in codec.pixel_formats:
        noise = torch.rand(6, 3, *size, generator=torch.Generator().manual_seed(0))
        with VideoWriter(f"{kind}-{size[1]}.mp4", 8, codec.with_choices(-1, kind)) as writer:
            writer.add(noise)
"""


def test_narrow_frames_leave_the_encoders_memory_whole(tmp_path):
    if "mp4 (H.265)" not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    # glibc then looks whether anything was written beside its place; elsewhere it just runs.
    checked = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
    places = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _NARROW],
        cwd=tmp_path,
        env=os.environ | places | checked,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    clips = sorted(tmp_path.glob("*.mp4"))
    assert len(clips) == 12 and all(len(read_video(clip)) == 6 for clip in clips)


def test_short_clips_have_the_times_of_their_frames(tmp_path):
    if "mp4 (H.265)" not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    noise = torch.rand(3, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    # Again and again: x265 reads a number that it did not set, which in new memory is right.
    for kind in CODECS["mp4 (H.265)"].pixel_formats * 15:
        for num_frames in (1, 2, 3):
            format = CODECS["mp4 (H.265)"].with_choices(-1, kind)
            with VideoWriter(tmp_path / "a.mp4", 8, format) as writer:
                writer.add(noise[:num_frames])
            with av.open(str(tmp_path / "a.mp4")) as container:
                times = [frame.time for frame in container.decode(video=0)]
            assert times == [k / 8 for k in range(num_frames)]


def test_frames_too_narrow_for_av1_are_refused(tmp_path):
    if "webm (AV1)" not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    format = CODECS["webm (AV1)"].format
    with pytest.raises(ValueError, match="32 pixels wide; got 30x64") as caught:
        VideoWriter(tmp_path / "a.webm", 8, format).add(smooth_clip(1, 64, 30))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    with VideoWriter(tmp_path / "a.webm", 8, format) as writer:
        writer.add(smooth_clip(2, 16, 31))  # stored 32 wide
    assert read_video(tmp_path / "a.webm").shape == (2, 3, 16, 32)


def test_values_are_rounded_and_clipped(tmp_path):
    frame = torch.full((3, 32, 32), 100.4 / 255)
    frame[:, :16] = torch.tensor([1.7, -0.5, 99.6 / 255]).view(3, 1, 1)
    write_video(tmp_path / "a.gif", [frame], fps=8)
    back = (read_video(tmp_path / "a.gif")[0] * 255).round()
    assert back[:, 31, 0].tolist() == [100, 100, 100] and back[:, 0, 0].tolist() == [255, 0, 100]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interrupt_leaves_nothing_and_keeps_the_older_file(tmp_path, suffix, error):
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"older")

    def frames():
        yield from smooth_clip(3)
        raise error

    with pytest.raises(error):
        write_video(target, frames(), fps=8)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"older"


def test_numbers_however_large_are_clipped_and_only_infinite_ones_refused(tmp_path):
    huge = torch.full((3, 32, 32), 3e38)  # finite, though its sum is not
    with VideoWriter(tmp_path / "a.mp4", 8) as writer:
        writer.add(huge)
        for wrong in (float("inf"), -float("inf"), float("nan")):
            frame = torch.zeros(3, 32, 32)
            frame[1, 5, 7] = wrong
            with pytest.raises(ValueError, match="not finite"):
                writer.add(frame)
    assert read_video(tmp_path / "a.mp4").min() > 0.98


@pytest.mark.parametrize("suffix", FORMATS)
def test_frames_that_cannot_be_written_are_refused(tmp_path, suffix):
    target = tmp_path / f"a{suffix}"
    clip = smooth_clip(2)
    for frames, words in (
        ([], "no frame"),
        ([clip[0], clip[1, :, :32]], "frame 1 is 80x32"),
        ([clip[0] * float("nan")], "not finite"),
        ([clip[0, 0]], r"\[3, H, W\]"),
    ):
        with pytest.raises(ValueError, match=words):
            write_video(target, frames, fps=8)
        assert not list(tmp_path.iterdir())


def test_targets_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="is a file, not a folder"):
        check_writable(tmp_path / "file" / "a.mp4")
    with pytest.raises(OSError, match="is a folder"):
        check_writable(tmp_path)
    check_writable(tmp_path / "new" / "folder" / "a.mp4")
    assert not (tmp_path / "new").exists()
    for name, fps, words in (
        ("a.avi", 8, "must end in"),
        ("a", 8, "must end in"),
        ("a.mp4", 0, "fps"),
    ):
        with pytest.raises(ValueError, match=words):
            VideoWriter(tmp_path / name, fps)


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_are_as_long_as_the_disk_takes(tmp_path, suffix):
    target = tmp_path / ("é" * ((255 - len(suffix)) // 2) + suffix)
    assert write_video(target, smooth_clip(2), fps=8) == 2
    assert list(tmp_path.iterdir()) == [target]
    for longer in (tmp_path / f"{'a' * 256}{suffix}", tmp_path / ("b" * 256) / f"a{suffix}"):
        with pytest.raises(OSError, match=r"is a name of 2\d\d bytes.* shorter one") as caught:
            VideoWriter(longer, fps=8)
        assert "Errno" not in str(caught.value)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs POSIX file size limits")
def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    script = (
        "import resource, signal, torch\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from trip_core.video_io import FORMATS, write_video\n"
        "noise = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))\n"
        "for suffix in FORMATS:\n"
        "    try:\n"
        f"        write_video({str(tmp_path / 'a')!r} + suffix, noise, 8)\n"
        "    except OSError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"{tmp_path}/a{suffix} could not be written: File too large" for suffix in FORMATS
    ]
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video at all")
    with pytest.raises(ValueError, match="not a video"):
        read_video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="does not exist"):
        read_video(tmp_path / "b.mp4")


def test_contact_sheet_shows_every_row():
    clip = smooth_clip(4)
    sheet = contact_sheet(
        [list(clip), list(clip[:2])], ["the camera pans left", "still"], height=32
    )
    assert sheet.mode == "RGB" and sheet.width == 4 * 44 + 4 and sheet.height == 2 * 56 + 4
    with pytest.raises(ValueError, match="one label each"):
        contact_sheet([list(clip)], [])
