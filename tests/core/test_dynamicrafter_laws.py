"""Laws of DynamiCrafter at a tiny size: what is heard, guidance, and the still's prior."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import TINY_UNET
from trip_core import guidance, sampling
from trip_core.nn.resampler import ResamplerConfig
from trip_core.nn.unet3d import VideoUNetConfig
from trip_core.prior import PriorWeights
from trip_core.schedule import ScheduleConfig
from trip_core.systems.dynamicrafter import (
    Conditioning,
    DynamiCrafter,
    DynamiCrafterConfig,
    StillPrior,
    frame_shares,
    guide_frames,
    still_prior,
)

TINY = DynamiCrafterConfig(
    unet=replace(TINY_UNET, in_channels=8),
    resampler=ResamplerConfig(
        in_dim=6, width=8, out_dim=12, depth=1, num_heads=2, head_dim=4, num_frames=4
    ),
    rescale_base=0.7,
)


@pytest.fixture
def tiny():
    model = DynamiCrafter(TINY)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise / max(parameter[0].numel() if parameter.ndim else 1, 1) ** 0.5
    return model.eval().requires_grad_(False)


def conditioning(generator, frames=5, batch=1, pace=None):
    def draw(*shape):
        return torch.randn(batch, *shape, generator=generator)

    return Conditioning(draw(3, 12), draw(frames, 16, 12), draw(4, frames, 4, 6), pace)


def test_one_context_for_all_frames_is_the_same_context_for_each(tiny, generator):
    given = conditioning(generator)
    z_t, times = torch.randn(1, 4, 5, 4, 6, generator=generator), torch.tensor([500])
    shared = tiny.predictor(replace(given, image=given.image[:, 0]))(z_t, times)
    each = given.image[:, :1].expand(-1, 5, -1, -1)
    torch.testing.assert_close(
        shared, tiny.predictor(replace(given, image=each))(z_t, times), atol=1e-5, rtol=1e-5
    )


def test_pace_and_stills_are_heard(tiny, generator):
    given = conditioning(generator)
    z_t, times = torch.randn(1, 4, 5, 4, 6, generator=generator), torch.tensor([500])
    plain = tiny.predictor(given)(z_t, times)
    default = tiny.predictor(replace(given, pace=torch.tensor([TINY.pace])))(z_t, times)
    assert plain.equal(default)
    assert not plain.equal(tiny.predictor(replace(given, pace=torch.tensor([3])))(z_t, times))
    assert not plain.equal(tiny.predictor(replace(given, stills=-given.stills))(z_t, times))


def test_an_image_scale_of_its_own_is_heard_and_one_scale_is_plain_guidance(tiny, generator):
    positive, negative = conditioning(generator), conditioning(generator)
    image_only = replace(positive, text=negative.text)
    z_t, times = torch.randn(1, 4, 5, 4, 6, generator=generator), torch.tensor([500])

    def guided(**options):
        return tiny.denoiser(positive, negative, **options)(z_t, times)

    plain = guided(scale=3.0)
    same = guided(image_only=image_only, scale=3.0, image_scale=3.0)
    torch.testing.assert_close(plain, same, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain, guided(image_only=image_only, scale=3.0, image_scale=1.5))


def test_branches_in_one_batch_give_the_numbers_of_branches_apart(tiny, monkeypatch, generator):
    positive, negative = conditioning(generator, batch=2), conditioning(generator, batch=2)
    branches = positive, negative, replace(positive, text=negative.text)
    z_t, times = torch.randn(2, 4, 5, 4, 6, generator=generator), torch.tensor([500, 20])

    def guided(free):
        monkeypatch.setattr(guidance, "batch_bytes", lambda _: free)
        batches = []
        hook = tiny.unet.conv_in.register_forward_hook(lambda _, given, __: batches.append(given))
        out = tiny.denoiser(*branches, scale=5.0, image_scale=2.0, rescale=0.7)(z_t, times)
        hook.remove()
        return out, len(batches)

    (together, one), (apart, three) = guided(2**30), guided(0)
    assert (one, three) == (1, 3)
    assert (together - apart).norm() <= 1e-5 * apart.norm()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_full_prior_gives_the_still_whatever_the_model_says(tiny, prediction_type, generator):
    zero = prediction_type == "v_prediction"
    model = DynamiCrafter(
        replace(
            TINY,
            prediction_type=prediction_type,
            schedule=ScheduleConfig(zero_terminal_snr=zero),
            rescale_base=0.7 if zero else 1.0,
        )
    ).eval()
    model.load_state_dict(tiny.state_dict())
    still = torch.randn(1, 4, 4, 6, generator=generator)
    prior = StillPrior(still, PriorWeights(1.0, 1.0, 0.0))
    clip = sampling.sample(
        model.denoiser(conditioning(generator), prior=prior),
        torch.randn(1, 4, 5, 4, 6, generator=generator),
        model.schedule,
        steps=4,
        spacing="trailing",
    )
    assert clip.equal(still.unsqueeze(2).expand_as(clip))


def test_with_epsilon_the_prior_is_linear_fusion_of_the_noises(tiny, generator):
    """TRIP^W: lambda prior + (1 - lambda) epsilon."""
    config = replace(TINY, prediction_type="epsilon", schedule=ScheduleConfig(), rescale_base=1.0)
    model = DynamiCrafter(config).eval()
    model.load_state_dict(tiny.state_dict())
    given, times = conditioning(generator), torch.tensor([600])
    z_t = torch.randn(1, 4, 5, 4, 6, generator=generator)
    still = torch.randn(1, 4, 4, 6, generator=generator)
    weights = PriorWeights(1.0, 0.0, 0.0)
    with torch.no_grad():
        x0 = model.denoiser(given, prior=StillPrior(still, weights))(z_t, times)
        epsilon = model.predictor(given)(z_t, times)
    alpha_bar = model.schedule.alpha_bar(times)
    share = weights(5, alpha_bar)
    noise = (z_t - alpha_bar.sqrt() * still.unsqueeze(2)) / (1 - alpha_bar).sqrt()
    fused = share * noise + (1 - share) * epsilon
    expected = (z_t - (1 - alpha_bar).sqrt() * fused) / alpha_bar.sqrt()
    torch.testing.assert_close(x0, expected, atol=1e-4, rtol=1e-4)


def test_with_velocity_the_prior_is_the_same_fusion_and_a_blend_of_clean_latents(tiny, generator):
    given, times = conditioning(generator), torch.tensor([600])
    z_t = torch.randn(1, 4, 5, 4, 6, generator=generator)
    still = torch.randn(1, 4, 4, 6, generator=generator)
    weights = PriorWeights(1.0, 0.2, 0.0)
    with torch.no_grad():
        x0 = tiny.denoiser(given, prior=StillPrior(still, weights))(z_t, times)
        free = tiny.denoiser(given)(z_t, times)
        velocity = tiny.predictor(given)(z_t, times)
    alpha_bar, signal = tiny.schedule.alpha_bar(times), tiny.schedule.signal(times)
    share = weights(5, alpha_bar)
    torch.testing.assert_close(x0, share * still.unsqueeze(2) + (1 - share) * free)
    # The same in noise: the prior's and the network's, blended. The still has the signal's scale.
    root, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noise = (z_t - root * signal * still.unsqueeze(2)) / sigma
    fused = share * noise + (1 - share) * (root * velocity + sigma * z_t)
    torch.testing.assert_close(x0, (z_t - sigma * fused) / root / signal, atol=1e-3, rtol=1e-3)


def test_kept_places_are_the_stills_without_a_prior(tiny, generator):
    given, times = conditioning(generator), torch.tensor([600])
    z_t = torch.randn(1, 4, 5, 4, 6, generator=generator)
    still = torch.randn(1, 4, 4, 6, generator=generator)
    kept = torch.zeros(1, 1, 4, 6)
    kept[..., :3] = 1
    prior = still_prior(still, None, 5, 0.0, kept=kept)
    x0, free = tiny.denoiser(given, prior=prior)(z_t, times), tiny.denoiser(given)(z_t, times)
    assert x0[..., 3:].equal(free[..., 3:])
    assert x0[..., :3].equal(still[:, :, None, :, :3].expand(-1, -1, 5, -1, -1))


def test_the_prior_of_a_clip_is_linear_fusion_as_published():
    """TRIP^W: lambda falls with the frame alone, unless the user asks for more."""
    still = torch.zeros(1, 4, 4, 6)
    weight = still_prior(still, None, 5, 1.0, 1.0).trust(5, torch.tensor([0.1, 0.9]))
    assert weight.squeeze().tolist() == [[1, 0.75, 0.5, 0.25, 0]] * 2
    assert still_prior(still, None, 5, 0.0) is None
    with pytest.raises(ValueError, match="nothing moves; set prior_strength to 0"):
        still_prior(still, None, 5, 1.0)
    assert still_prior(still, None, 5, 1.0, time_decay=1.0) is not None


def test_two_stills_stand_at_the_ends_and_nothing_between():
    start, end = torch.ones(1, 4, 2, 2), torch.full((1, 4, 2, 2), 2.0)
    frames = guide_frames(start, 5, end)
    assert frames[0, 0, :, 0, 0].tolist() == [1, 0, 0, 0, 2]
    assert guide_frames(start, 3)[0, 0, :, 0, 0].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="at least 2 frames"):
        guide_frames(start, 1, end)


def test_a_clip_of_another_length_takes_the_context_of_its_share():
    assert frame_shares(16, 16) == list(range(16))
    assert frame_shares(16, 4) == [0, 5, 10, 15]
    assert frame_shares(4, 1) == [0]
    assert len(frame_shares(16, 40)) == 40


def test_wrong_shapes_are_one_sentence(tiny, generator):
    given = conditioning(generator)
    with pytest.raises(ValueError, match="must both be"):
        tiny.predictor(given)(torch.randn(1, 4, 3, 4, 6), torch.tensor([1]))
    with pytest.raises(ValueError, match="12 wide"):
        tiny.context_keys_values(torch.randn(1, 3, 5), given.image)
    with pytest.raises(ValueError, match="CLIP vision"):
        tiny.image_context(torch.randn(1, 5, 7), 4)
    with pytest.raises(ValueError, match="twice out_channels"):
        DynamiCrafterConfig(unet=VideoUNetConfig())
