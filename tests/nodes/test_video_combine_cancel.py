"""Cancel and full disks: Video Combine obeys at once and leaves nothing."""

import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from tests.nodes.clips import clip


class Cancelled(Exception):
    """What a host raises, which is no OSError."""


def test_cancel_leaves_nothing(combine, folder, part):
    part("host").Progress.cancel_at = 3
    for name in ("mp4 (H.264)", "mp4 (H.265)", "GIF", "PNG sequence"):
        with pytest.raises(InterruptedError):
            combine(images=clip(), format=name)
    left = [
        path for root in ("output", "temp") for path in (folder / root).rglob("*") if path.is_file()
    ]
    assert left == []


@pytest.mark.parametrize("name", ["GIF", "animated WebP", "animated PNG"])
@pytest.mark.parametrize("after", [1, 2, 4, 8])
def test_cancel_is_obeyed_after_the_last_frame_too(combine, folder, part, monkeypatch, name, after):
    asked = []

    def step(progress, count=1):
        progress.done += count
        asked.extend([count] if progress.done == 8 and not count else [])
        if len(asked) >= after:
            raise Cancelled

    monkeypatch.setattr(part("host").Progress, "step", step)
    with pytest.raises(Cancelled):
        combine(images=clip(8), format=name, filename_prefix="a/b/clip")
    assert after <= len(asked) <= after + 1  # Pillow turns a WebP back to its first frame
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["GIF", "animated WebP", "animated PNG"])
def test_cancel_is_asked_for_at_every_waiting_frame(combine, part, monkeypatch, name):
    asked = []
    monkeypatch.setattr(part("host").Progress, "step", lambda _, count=1: asked.append(count))
    for frames in (4, 8):
        asked.clear()
        combine(images=clip(frames), format=name)
        assert asked.count(1) == frames and asked.count(0) >= frames


def test_cancel_does_not_wait_for_a_palette(combine, folder, part, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def palette(*_, **__):
        begun.set()
        assert go.wait(10)

    def step(*_):
        if begun.is_set():
            raise Cancelled

    monkeypatch.setattr(Image.Image, "quantize", palette)
    monkeypatch.setattr(part("host").Progress, "step", step)
    try:
        with pytest.raises(Cancelled):
            combine(images=clip(), format="GIF")
    finally:
        go.set()
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_folders_go_with_the_clip_that_they_were_made_for(combine, folder, part, monkeypatch):
    targets = part("host_targets")

    def target(prefix, suffix, size, keep):
        del size
        root = folder / ("output" if keep else "temp")
        return targets.Target(root / f"{prefix}_00001_{suffix}", "a/b", root.name)

    monkeypatch.setattr(targets, "target", target)
    (folder / "output" / "a").mkdir(parents=True)
    part("host").Progress.cancel_at = 3
    for name in ("mkv (FFV1 lossless)", "GIF", "PNG sequence"):
        with pytest.raises(InterruptedError):
            combine(images=clip(), format=name, filename_prefix="a/b/clip")
        assert [path.name for path in folder.rglob("*")] == ["output", "a"]
    with pytest.raises(ValueError, match="at most 50"):
        combine(images=clip(), format="GIF", fps=60, filename_prefix="a/b/clip")
    assert [path.name for path in folder.rglob("*")] == ["output", "a"]


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        ("GIF", "clip_00001_.png"),
        ("GIF", "clip_00001_.gif"),
        ("mkv (FFV1 lossless)", "clip_00001_.mkv"),
        ("mkv (FFV1 lossless)", "clip_preview_00001_.mp4"),
    ],
)
def test_a_full_disk_leaves_neither_clip_nor_companion(combine, folder, monkeypatch, name, fails):
    replace = os.replace

    def full(source, target):
        if Path(target).name == fails:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="could not be written"):
        combine(images=clip(), format=name)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
