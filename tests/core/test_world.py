"""Laws of the procedural world: it knows its own motion."""

import pytest
import torch

from trip_core.data import things
from trip_core.data.captions import plain_caption
from trip_core.data.world import World, render, render_stills
from trip_core.nn.warp import warp

KINDS = ("pan_left", "zoom_in", "rotate_cw", "truck_right", "clouds_left", "waves", "object_right")


def clip_of(kind, index=0, size=48):
    scenes = World(size=size, seed=11).scenes(2, index)
    parameters = torch.tensor([plain_caption(kind).parameters] * 2)
    return render(scenes, parameters, 16, [0, 8, 15])


def test_the_same_seed_and_index_give_the_same_clip():
    first, second = clip_of("waves"), clip_of("waves")
    for name in vars(first):
        assert torch.equal(getattr(first, name), getattr(second, name))
    scenes = World(size=48, seed=11).scenes(1, 1)
    assert torch.equal(render_stills(scenes).video[0, :, 0], first.video[1, :, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_warping_the_still_by_the_true_flow_gives_the_visible_pixels(kind):
    for index in (0, 6):
        clip = clip_of(kind, index)
        moved = warp(clip.video[:, :, 0], clip.flow)
        known = clip.visibility
        error = ((moved - clip.video).square() * known).sum() / (3 * known.sum())
        frozen = (clip.video - clip.video[:, :, :1]).square().mean()
        assert known.mean() > 0.5
        assert error < max(0.35 * frozen, 4e-4)


def test_the_first_frame_is_the_still_and_all_of_it_is_visible():
    clip = clip_of("snow")
    assert clip.flow[:, :, 0].abs().max() < 1e-4
    assert (clip.visibility[:, :, 0] == 1).all()
    assert not torch.equal(clip.video[:, :, 0], clip.video[:, :, 2])  # it snows later


def test_maps_are_what_they_say():
    clip = clip_of("still")
    assert torch.equal(clip.regions.sum(1), torch.ones(2, 48, 48))
    assert clip.depth.min() >= 0 and clip.depth.max() <= 1
    assert clip.video.min() >= 0 and clip.video.max() <= 1
    # Nothing moves: only the rounding of a drift of zero may differ.
    assert (clip.video[:, :, 0] - clip.video[:, :, -1]).abs().max() < 1e-6


def test_hair_leaves_the_face_to_be_seen():
    axis = torch.linspace(-1, 1, 65)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    for seed in range(8):
        *_, head, eye, _, mouth, hair = things._bust(torch.Generator().manual_seed(seed), u, v)
        for part in (eye, mouth):
            assert (hair[0][part[0] < 0] > 0).float().mean() > 0.8
        assert (hair[0][head[0] < 0] < 0).any()
