"""What Image Noise Prior does with a still before the host is asked."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import save_tiny
from trip_core.pipeline import estimate_motion, fit_to_model
from trip_core.trip_file import load_model

FRAMES = 4


@pytest.fixture(scope="module", params=[True, False], ids=["motion", "no motion"])
def core(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    return load_model(save_tiny(file, motion=request.param))


@pytest.fixture
def wishes(part):
    image = torch.rand(1, 96, 80, 3, generator=torch.Generator().manual_seed(0))
    return part("wishes").Wishes(image, 0, 0, "crop", FRAMES, 1.0, 1.0, 0.0, 0.0)


@pytest.fixture
def hold(part, core):
    """Hold the tiny model to wishes; return what is held, its start and its anchor."""

    def held(wishes):
        fit, still_holder = part("still_fit"), part("held_still")
        still = fit.fit_image(wishes.image, wishes.width, wishes.height, wishes.fit)
        kept = fit.kept_places(wishes.mask, wishes.image, still, wishes.fit)
        small, anchor = fit_to_model(core, still), None
        if core.motion is not None:
            moved = estimate_motion(core, small, core.text.encode(["the camera pans left"]))
            anchor = part("padded_still").build_anchor(still, moved, wishes, kept)
        prior = still_holder.prior_weights(core, wishes)
        return *still_holder.hold_still(core, small, anchor, FRAMES, prior, kept), anchor

    with torch.no_grad():
        yield held


def answer(part, core, held, start, generator):
    """Return the network's clean latents of noise, as the host calls it, and the still's."""
    video = start.movedim(0, 1)[None]
    warped = None if held.warped is None else video
    bound = part("held_still").BoundStill(held, held.still, warped, held.visibility, held.kept)
    noise = torch.randn(video.shape, generator=generator)
    text = core.text.encode(["waves"])
    given = bound.arguments(1, list(range(FRAMES)))
    return core.trip(noise, torch.tensor([500]), text, **given).x0, video


@pytest.mark.parametrize("fit", ["crop", "overscan"])
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_painted_places_are_the_stills_at_any_strength(
    part, core, hold, wishes, generator, fit, strength
):
    mask = torch.zeros(1, 96, 80)
    mask[:, :48] = 1
    held, start, _ = hold(replace(wishes, mask=mask, fit=fit, prior_strength=strength))
    x0, still = answer(part, core, held, start, generator)
    size = start.shape[-2]
    torch.testing.assert_close(x0[..., : size // 3, :], still[..., : size // 3, :])
    assert (x0 - still)[..., -2:, :].abs().max() > 0.1  # the rest is free


def test_cancel_leaves_before_the_end(part, core, wishes):
    counted = []

    def cancelled(frames):
        for frame in frames:
            counted.append(1)
            if len(counted) == 3:
                raise InterruptedError
            yield frame

    if core.motion is None:
        pytest.skip("one picture is encoded")
    still = part("still_fit").fit_image(wishes.image, 0, 0, "crop")
    small, prior = fit_to_model(core, still), part("held_still").prior_weights(core, wishes)
    with torch.no_grad(), pytest.raises(InterruptedError):
        moved = estimate_motion(core, small, core.text.encode(["the camera pans left"]))
        anchor = part("padded_still").build_anchor(still, moved, replace(wishes, length=400), None)
        part("held_still").hold_still(core, small, anchor, 400, prior, None, cancelled)
    assert len(counted) == 3


def test_painted_places_follow_the_view(core, hold, wishes):
    mask = torch.zeros(1, 96, 80)
    mask[:, :24] = 1  # what overscan leaves out counts no more
    held, _, anchor = hold(replace(wishes, mask=mask, fit="overscan"))
    assert held.kept.shape[-2:] == held.still.shape[-2:]
    if core.motion is not None:
        assert anchor.view < 0.9
        assert held.kept.mean() < mask.mean() - 0.02
        assert held.kept.equal(anchor.kept_at(held.still.shape[-2:]))


def test_added_borders_stand(core, hold, wishes):
    held, _, anchor = hold(replace(wishes, fit="pad", width=64, height=128))
    size = held.still.shape[-2]
    assert held.kept[0, 0, : size // 8].min() == 1 and held.kept[0, 0, size // 2].max() == 0
    if core.motion is not None:
        assert (frames_of(anchor)[:, :, :20]).max() == 0


def frames_of(anchor):
    return torch.stack(list(anchor.to("cpu").frames()))


@pytest.mark.parametrize("size", [(160, 80), (64, 128)])
def test_borders_never_move_into_the_picture(core, hold, wishes, size):
    if core.motion is None:
        pytest.skip("nothing moves")
    bright = wishes.image / 2 + 0.5
    *_, anchor = hold(replace(wishes, image=bright, fit="pad", width=size[0], height=size[1]))
    frames = frames_of(anchor)
    shown = frames[0].amax(0) > 0
    assert 0.2 < shown.float().mean() < 0.8
    assert frames[..., ~shown].max() == 0 and frames[..., shown].min() > 0.3
    assert (frames[-1] - frames[0]).abs().max() > 0.1  # and yet it moves


def test_nothing_is_kept_without_a_mask_or_borders(hold, wishes):
    assert hold(wishes)[0].kept is None


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"motion_strength": 2.0}, "motion_strength .* got 2.0: set it back to 1"),
        ({"fit": "overscan"}, "overscan .* choose crop, pad or stretch"),
    ],
)
def test_motion_is_refused_by_models_without_a_motion_network(wishes, wish, words):
    wishes.refuse_motion("DreamVideo")
    with pytest.raises(ValueError, match=words) as caught:
        replace(wishes, **wish).refuse_motion("DreamVideo")
    assert "\n" not in str(caught.value)
