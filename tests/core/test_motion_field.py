"""Laws of the motion formulas: identity at the start, directions, visibility."""

import pytest
import torch

from trip_core.nn.motion_field import (
    MOTION_PARAMETERS,
    OBJECT,
    SKY,
    WATER,
    StillMotion,
    frame_flow,
    motion_flow,
)
from trip_core.nn.warp import warp


def still_motion(size=32, region=None, depth=0.5, **moves):
    regions = torch.zeros(1, 4, size, size)
    regions[:, 0] = 1
    if region is not None:  # the upper half
        regions[:, 0, : size // 2] = 0
        regions[:, region, : size // 2] = 1
    values = [moves.get(name, 0.0) for name in MOTION_PARAMETERS]
    return StillMotion(torch.tensor([values]), regions, torch.full((1, 1, size, size), depth))


@pytest.mark.parametrize("name", list(MOTION_PARAMETERS))
def test_the_first_frame_is_the_still_whatever_moves(name):
    motion = still_motion(region=OBJECT if "object" in name else SKY, **{name: 0.3})
    flow, visibility = frame_flow(motion, 16, 0)
    assert flow.abs().max() < 1e-4
    assert visibility.min() > 1 - 1e-5


def test_no_motion_is_no_flow_in_every_frame():
    flow, visibility = motion_flow(still_motion(region=WATER), 5)
    assert flow.abs().max() < 1e-4
    assert visibility.min() > 1 - 1e-5


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [
        ("pan", 0, 1),  # camera right: content left, so pixels come from the right
        ("tilt", 1, -1),  # camera up: content down, so pixels come from above
        ("truck", 0, 1),
        ("boom", 1, -1),
        ("sky_x", 0, -1),  # content right: pixels come from the left
        ("object_x", 0, -1),
    ],
)
def test_directions_follow_the_words(name, axis, sign):
    region = {"sky_x": SKY, "object_x": OBJECT}.get(name)
    flow, _ = frame_flow(still_motion(region=region, **{name: 0.1}), 16, 15)
    rows = slice(4, 12) if region else slice(8, 24)
    part = flow[0, :, rows, 8:24].mean((1, 2))
    assert sign * part[axis] > 1
    assert part[1 - axis].abs() < 0.2


def test_zoom_in_fetches_from_nearer_the_centre_and_clockwise_camera_turns_content_back():
    flow, _ = frame_flow(still_motion(zoom=0.2), 16, 15)
    assert flow[0, 0, 16, 0] > 0 and flow[0, 0, 16, -1] < 0
    flow, _ = frame_flow(still_motion(roll=0.2), 16, 15)
    # Content turns counter-clockwise: what is now at the top was at the right.
    assert flow[0, 0, 0, 16] > 0


def test_parallax_grows_with_nearness():
    far, _ = frame_flow(still_motion(truck=0.1, depth=0.1), 16, 15)
    near, _ = frame_flow(still_motion(truck=0.1, depth=0.9), 16, 15)
    assert near[0, 0, 16, 10] > 5 * far[0, 0, 16, 10] > 0


def test_sky_moves_alone():
    flow, _ = frame_flow(still_motion(region=SKY, sky_x=0.1), 16, 15)
    assert flow[0, 0, 24:].abs().max() < 1e-4
    assert flow[0, 0, 2:14].mean() < -2


def test_what_comes_into_view_is_not_visible():
    _, visibility = frame_flow(still_motion(pan=0.25), 16, 15)
    assert visibility[..., -6:].max() < 0.5
    assert visibility[..., :20].min() > 0.99


def test_camera_moves_end_where_the_clip_ends_and_clouds_drift_on():
    motion = still_motion(region=SKY, pan=0.1)
    short, long = frame_flow(motion, 8, 7)[0], frame_flow(motion, 31, 30)[0]
    assert torch.allclose(short, long, atol=1e-4)
    motion = still_motion(region=SKY, sky_x=0.05)
    short, long = frame_flow(motion, 16, 15)[0], frame_flow(motion, 31, 30)[0]
    middle = (slice(0, 1), 0, slice(4, 12), slice(8, 24))
    assert torch.allclose(2 * short[middle], long[middle], atol=1e-3)


def test_warping_by_the_flow_moves_the_picture():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 16, 20] = 1
    flow, _ = motion_flow(still_motion(pan=0.25), 16)  # 8 pixels over the clip
    last = warp(image, flow)[0, 0, -1]
    assert last[16, 12] > 0.99
