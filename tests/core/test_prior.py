"""The laws of TRIP's image noise prior and of its linear fusion."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trip_core.prediction import epsilon_from, x0_from
from trip_core.prior import (
    UNTRAINED,
    PriorWeights,
    StillPrior,
    blend_towards_still,
    image_noise_prior,
    prior_weight,
)
from trip_core.schedule import noise_schedule

EQUATIONS = Path(__file__).parents[1] / "fixtures" / "trip_equations.safetensors"
TIMESTEPS = torch.tensor([0, 40, 500, 999])


def column(alpha_bar):
    return alpha_bar.view(-1, 1, 1, 1, 1)


@pytest.fixture
def clip(generator):
    """Clean latents, noise and noisy latents of four clips, float64, frame 1 being the still."""
    alpha_bar = noise_schedule().alphas_cumprod[TIMESTEPS]
    x0, eps = (
        torch.randn(4, 3, 5, 6, 6, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    z_t = column(alpha_bar).sqrt() * x0 + (1 - column(alpha_bar)).sqrt() * eps
    return x0, eps, z_t, alpha_bar


def test_law_1_one_backward_step_with_the_prior_lands_on_the_still(clip):
    x0, _, z_t, alpha_bar = clip
    prior = image_noise_prior(z_t, x0[:, :, 0], alpha_bar)
    landed = x0_from(prior, z_t, alpha_bar, "epsilon")
    torch.testing.assert_close(landed, x0[:, :, :1].expand_as(landed), rtol=0, atol=1e-12)


def test_law_2_the_prior_of_the_still_itself_is_the_noise_that_was_added(clip):
    x0, eps, z_t, alpha_bar = clip
    prior = image_noise_prior(z_t, x0[:, :, 0], alpha_bar)
    torch.testing.assert_close(prior[:, :, 0], eps[:, :, 0], rtol=0, atol=1e-11)


def test_law_2_a_clip_of_identical_frames_has_prior_equal_to_noise(clip):
    x0, eps, _, alpha_bar = clip
    still = x0[:, :, 0]
    frozen = still.unsqueeze(2)
    z_t = column(alpha_bar).sqrt() * frozen + (1 - column(alpha_bar)).sqrt() * eps
    torch.testing.assert_close(image_noise_prior(z_t, still, alpha_bar), eps, rtol=0, atol=1e-11)


def test_law_3_prior_minus_noise_is_the_scaled_frame_difference(clip):
    x0, eps, z_t, alpha_bar = clip
    prior = image_noise_prior(z_t, x0[:, :, 0], alpha_bar)
    scale = (column(alpha_bar) / (1 - column(alpha_bar))).sqrt()
    torch.testing.assert_close(prior - eps, scale * (x0 - x0[:, :, :1]), rtol=1e-9, atol=1e-10)


def test_law_4_linear_fusion_of_noises_is_a_blend_in_x0_space(clip, generator):
    x0, _, z_t, alpha_bar = clip
    residual = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    weight = prior_weight(5, alpha_bar)
    prior = image_noise_prior(z_t, x0[:, :, 0], alpha_bar)
    fused_noise = weight * prior + (1 - weight) * residual
    x0_unet = x0_from(residual, z_t, alpha_bar, "epsilon")
    blended = blend_towards_still(x0_unet, x0[:, :, 0], weight)
    torch.testing.assert_close(
        blended, x0_from(fused_noise, z_t, alpha_bar, "epsilon"), rtol=1e-9, atol=1e-10
    )
    torch.testing.assert_close(
        epsilon_from(blended, z_t, alpha_bar, "sample"), fused_noise, rtol=1e-9, atol=1e-9
    )


def test_law_4_weight_one_gives_the_still_whatever_the_model_says(clip):
    x0, _, _, _ = clip
    still = x0[:, :, 0]
    wild = torch.full_like(x0, 1e30)
    blended = blend_towards_still(wild, still, torch.ones(()))
    assert torch.equal(blended, still.unsqueeze(2).expand_as(x0))
    assert torch.equal(blend_towards_still(x0, still, torch.zeros(())), x0)


def test_law_5_the_priors_error_explodes_at_small_t_and_the_weight_tames_it():
    alpha_bar = noise_schedule().alphas_cumprod
    magnified = (alpha_bar / (1 - alpha_bar)).sqrt()
    assert magnified[0] > 30 and magnified[-1] < 0.1
    middle = prior_weight(3, alpha_bar, time_decay=0.0)[:, 0, 1, 0, 0]
    assert (middle * magnified).max() > 15
    for decay in (0.5, 1.0, 2.0):
        middle = prior_weight(3, alpha_bar, time_decay=decay)[:, 0, 1, 0, 0]
        assert (middle * magnified).max() <= 1.0 + 1e-9


def test_published_equations():
    ref = load_file(EQUATIONS)
    z0, eps, table = ref["z0"], ref["eps"], noise_schedule().alphas_cumprod
    for t in ref["t"].tolist():
        alpha_bar = table[t].view(1)
        a = column(alpha_bar)
        z_t = a.sqrt() * z0 + (1 - a).sqrt() * eps
        torch.testing.assert_close(z_t, ref[f"t{t}.z_t"], rtol=0, atol=1e-12)
        prior = image_noise_prior(z_t, z0[:, :, 0], alpha_bar)
        torch.testing.assert_close(prior, ref[f"t{t}.prior"], rtol=0, atol=1e-11)
        torch.testing.assert_close(prior - eps, ref[f"t{t}.C"], rtol=0, atol=1e-11)
        residual = ref["unet_residual"]
        weight = prior_weight(16, alpha_bar, time_decay=0.0)
        torch.testing.assert_close(weight.flatten(), ref["lambda"], rtol=0, atol=1e-12)
        x0 = x0_from(residual, z_t, alpha_bar, "epsilon")
        fused = blend_towards_still(x0, z0[:, :, 0], weight)
        torch.testing.assert_close(
            epsilon_from(fused, z_t, alpha_bar, "sample"),
            ref[f"t{t}.linear_fused"],
            rtol=0,
            atol=1e-10,
        )


def test_a_flow_of_zero_gives_trips_own_prior(clip):
    from trip_core.nn.warp import warp

    x0, _, z_t, alpha_bar = (tensor.float() for tensor in clip)
    still = x0[:, :, 0]
    warped = warp(still, torch.zeros(4, 2, 5, 6, 6))
    motion = image_noise_prior(z_t, warped, alpha_bar)
    # At the smallest t the prior magnifies the resampler's last bit thirtyfold.
    torch.testing.assert_close(motion, image_noise_prior(z_t, still, alpha_bar), rtol=0, atol=1e-4)
    repeated = still.unsqueeze(2).expand_as(z_t)
    assert torch.equal(
        image_noise_prior(z_t, repeated, alpha_bar), image_noise_prior(z_t, still, alpha_bar)
    )


def test_weight_is_linear_in_the_frame_and_falls_towards_small_t():
    alpha_bar = noise_schedule().alpha_bar(torch.tensor([0, 100, 500, 999]))
    flat = prior_weight(5, alpha_bar, first=0.9, last=0.1, time_decay=0.0)
    assert flat.shape == (4, 1, 5, 1, 1)
    expected = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1]).expand(4, 5)
    torch.testing.assert_close(flat.squeeze(), expected)
    falling = prior_weight(5, alpha_bar, first=0.9, last=0.1).squeeze()
    assert (falling.diff(dim=0) > 0).all() and (falling.diff(dim=1) < 0).all()
    assert (falling > 0).all() and (falling < flat.squeeze()).all()


def test_a_frame_that_is_the_still_keeps_it_at_every_t():
    alpha_bar = noise_schedule().alpha_bar(torch.arange(1000))
    weight = prior_weight(4, alpha_bar, first=1.0, last=0.0, time_decay=2.0)
    assert torch.equal(weight[:, 0, 0], torch.ones(1000, 1, 1))
    assert torch.equal(weight[:, 0, -1], torch.zeros(1000, 1, 1))


def test_a_users_strength_and_decays():
    base, alpha_bar = PriorWeights(1.0, 0.5, 1.0), torch.tensor([0.5])
    assert base.scaled() == base
    assert base.scaled(0.0)(3, alpha_bar).abs().max() == 0
    assert base.scaled(0.5, 2.0) == PriorWeights(0.5, 0.25, 1.0, 2.0)
    assert base.scaled(0.5, frames_decay=0.5) == PriorWeights(0.5, 0.125, 1.0)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_users_decay_lets_go_of_every_frame_but_the_first(strength):
    """Also where a model holds all frames fully, as the one that ships does."""
    alpha_bar = noise_schedule().alpha_bar(torch.tensor([0, 500, 999]))
    weight = PriorWeights(1.0, 1.0, 0.0).scaled(strength, 2.0)(4, alpha_bar).squeeze()
    assert (weight[:, 0] == strength).all()
    torch.testing.assert_close(
        weight[:, 1:], (strength * (1 - alpha_bar[:, None]) ** 2).expand(3, 3)
    )


def test_law_5_a_users_decay_tames_the_magnified_error_too():
    alpha_bar = noise_schedule().alphas_cumprod
    magnified = (alpha_bar / (1 - alpha_bar)).sqrt()
    for decay in (0.5, 1.0, 8.0):
        later = PriorWeights(1.0, 1.0, 0.0).scaled(1.0, decay)(2, alpha_bar)[:, 0, 1, 0, 0]
        assert (later * magnified).max() <= 1.0 + 1e-9


# The prior on a model that was not trained with it


@pytest.mark.parametrize("frames", [4, 5])
def test_two_stills_hold_a_half_each(frames, generator):
    start, end = torch.randn(2, 1, 3, 2, 2, generator=generator)
    prior = StillPrior.between(start, end, frames, UNTRAINED.scaled(1.0, 1.0, frames_decay=1.0))
    assert prior.still[:, :, 0].equal(start) and prior.still[:, :, -1].equal(end)
    weight = prior.trust(frames, torch.tensor([0.4])).flatten()
    assert weight.equal(weight.flip(0))
    assert weight[0] == 1 and weight[1] == (0.0 if frames == 4 else 0.3) and weight[2] == 0
    x0 = torch.randn(1, 3, frames, 2, 2, generator=generator)
    fused = prior.towards_still(x0, torch.tensor([0.4]))
    assert fused[:, :, 0].equal(start) and fused[:, :, -1].equal(end)
    assert fused[:, :, 2].equal(x0[:, :, 2])


def test_kept_places_are_the_still_and_the_others_free(generator):
    still, x0 = torch.randn(1, 3, 4, 6, generator=generator), torch.randn(1, 3, 5, 4, 6)
    kept = torch.zeros(1, 1, 4, 6)
    kept[..., :3] = 1
    fused = StillPrior(still, UNTRAINED.scaled(0.0), kept=kept).towards_still(
        x0, torch.tensor([0.9])
    )
    assert fused[..., :3].equal(still[:, :, None, :, :3].expand(-1, -1, 5, -1, -1))
    assert fused[..., 3:].equal(x0[..., 3:])


def test_computed_in_float32_for_half_precision_latents(clip):
    x0, _, z_t, alpha_bar = clip
    prior = image_noise_prior(z_t.bfloat16(), x0[:, :, 0].bfloat16(), alpha_bar)
    assert prior.dtype == torch.float32
    blended = blend_towards_still(x0.half(), x0[:, :, 0].half(), torch.tensor(0.5).half())
    assert blended.dtype == torch.float32


def test_wrong_use_is_one_sentence(clip):
    x0, _, z_t, alpha_bar = clip
    with pytest.raises(ValueError, match=r"\(4, 3, 6\).*\(4, 3, 5, 6, 6\)"):
        image_noise_prior(z_t, x0[:, :, 0, 0], alpha_bar)
    with pytest.raises(ValueError, match=r"\(4, 3, 2, 6, 6\)"):
        blend_towards_still(x0, x0[:, :, :2], torch.ones(()))
    for wrong in (
        lambda: prior_weight(3, alpha_bar, first=1.5),
        lambda: prior_weight(3, alpha_bar, last=float("nan")),
        lambda: prior_weight(3, alpha_bar, time_decay=-1.0),
        lambda: PriorWeights().scaled(2.0),
        lambda: PriorWeights().scaled(1.0, -1.0),
        lambda: PriorWeights().scaled(1.0, float("nan")),
        lambda: PriorWeights().scaled(1.0, frames_decay=1.5),
    ):
        with pytest.raises(ValueError, match="must be"):
            wrong()
