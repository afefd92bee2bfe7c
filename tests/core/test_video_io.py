"""Clips on disk: what is written is what comes back, in every format."""

import pytest
import torch

from tests.core.clips import smooth_clip
from trip_core.formats import FORMATS
from trip_core.video_io import read_video, write_video


def psnr(a, b):
    return float(-10 * (a - b).square().mean().log10())


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


def test_values_are_rounded_and_clipped(tmp_path):
    frame = torch.full((3, 32, 32), 100.4 / 255)
    frame[:, :16] = torch.tensor([1.7, -0.5, 99.6 / 255]).view(3, 1, 1)
    write_video(tmp_path / "a.gif", [frame], fps=8)
    back = (read_video(tmp_path / "a.gif")[0] * 255).round()
    assert back[:, 31, 0].tolist() == [100, 100, 100] and back[:, 0, 0].tolist() == [255, 0, 100]
