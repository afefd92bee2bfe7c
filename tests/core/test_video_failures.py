"""A clip is written whole or not at all, and an older file of its name stays."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.core.clips import smooth_clip
from trip_core.formats import FORMATS
from trip_core.targets import check_writable
from trip_core.video_io import VideoWriter, read_video, write_video


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
        "from trip_core.formats import FORMATS\n"
        "from trip_core.video_io import write_video\n"
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
