"""Identities of guidance."""

import pytest
import torch

from trip_core import guidance
from trip_core.guidance import (
    Branch,
    rescale_guidance,
    text_guidance,
    text_image_guidance,
)
from trip_core.prediction import epsilon_from, v_from, x0_from
from trip_core.prior import blend_towards_still
from trip_core.schedule import noise_schedule

SHAPE = (2, 3, 4, 5, 6)


def linear_denoiser(weight, bias):
    """A denoiser whose answer depends on latents and timestep."""
    return lambda z_t, t: weight * z_t + bias * t.view(-1, 1, 1, 1, 1).to(z_t)


def never(*_):
    raise AssertionError("this branch must not be called")


@pytest.fixture
def inputs(generator):
    z_t = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    return z_t, torch.tensor([10, 700])


def test_scale_one_is_the_conditional_branch_alone(inputs):
    cond = linear_denoiser(0.5, 1e-3)
    assert torch.equal(text_guidance(cond, never, 1.0)(*inputs), cond(*inputs))
    assert torch.equal(text_image_guidance(cond, never, never, 1, 1)(*inputs), cond(*inputs))


def test_scale_zero_is_the_unconditional_branch(inputs):
    cond, uncond = linear_denoiser(0.5, 1e-3), linear_denoiser(-0.2, 2e-3)
    torch.testing.assert_close(text_guidance(cond, uncond, 0.0)(*inputs), uncond(*inputs))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_guiding_clean_latents_is_guiding_the_network_output(inputs, kind):
    z_t, t = inputs
    alpha_bar = noise_schedule().alphas_cumprod[t]
    out = {"epsilon": epsilon_from, "v_prediction": v_from}[kind]
    branches = linear_denoiser(0.5, 1e-3), linear_denoiser(-0.2, 2e-3)
    c, u = (out(branch(z_t, t), z_t, alpha_bar, "sample") for branch in branches)
    ours = text_guidance(*branches, 7.5)(z_t, t)
    torch.testing.assert_close(
        ours, x0_from(u + 7.5 * (c - u), z_t, alpha_bar, kind), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(("free", "calls"), [(100 * 360, 1), (10, 3)])
def test_branches_share_a_batch_where_memory_allows(inputs, monkeypatch, free, calls):
    batches = []

    def network(z_t, t, bound):
        batches.append(len(z_t))
        (weight, bias), nothing = bound
        assert nothing is None and len(weight) == len(t) == len(z_t)
        return weight * z_t + bias * t.view(-1, 1, 1, 1, 1)

    def branch(weight, bias):
        rows = torch.full((2, 1, 1, 1, 1), weight), torch.full((2, 1, 1, 1, 1), bias)
        return Branch(network, (rows, None), lambda places: 100 * places)

    monkeypatch.setattr(guidance, "batch_bytes", lambda _: 3 * free)
    numbers = (0.5, 1e-3), (0.1, 0.0), (-0.2, 2e-3)
    plain = text_image_guidance(*(linear_denoiser(*pair) for pair in numbers), 5.0, 2.0, 0.7)
    ours = text_image_guidance(*(branch(*pair) for pair in numbers), 5.0, 2.0, 0.7)
    torch.testing.assert_close(ours(*inputs), plain(*inputs), rtol=1e-5, atol=1e-5)
    assert len(batches) == calls and sum(batches) == 6


def test_double_condition_guidance_falls_back_to_the_single_ones(inputs):
    f, i, n = linear_denoiser(0.5, 1e-3), linear_denoiser(0.1, 0), linear_denoiser(-0.2, 2e-3)
    torch.testing.assert_close(
        text_image_guidance(f, i, never, 5.0, 1.0)(*inputs), text_guidance(f, i, 5.0)(*inputs)
    )
    # Equal scales: one guidance by image and text together.
    torch.testing.assert_close(
        text_image_guidance(f, i, n, 5.0, 5.0)(*inputs), text_guidance(f, n, 5.0)(*inputs)
    )
    z = inputs
    expected = n(*z) + 2 * (i(*z) - n(*z)) + 5 * (f(*z) - i(*z))
    torch.testing.assert_close(text_image_guidance(f, i, n, 5.0, 2.0)(*z), expected)


def test_linear_fusion_may_be_guided_before_or_after(inputs):
    z_t, t = inputs
    still, weight = z_t[:, :, 0], torch.rand(1, 1, 4, 1, 1, dtype=torch.float64)
    branches = linear_denoiser(0.5, 1e-3), linear_denoiser(-0.2, 2e-3)
    before = blend_towards_still(text_guidance(*branches, 7.5)(z_t, t), still, weight)

    def fused(branch):
        return lambda z, s: blend_towards_still(branch(z, s), still, weight)

    torch.testing.assert_close(text_guidance(*map(fused, branches), 7.5)(z_t, t), before)


def test_rescale_restores_the_contrast_of_each_item(inputs):
    cond, _ = inputs
    guided = cond * torch.tensor([3.0, 9.0]).view(-1, 1, 1, 1, 1)
    axes = (1, 2, 3, 4)
    torch.testing.assert_close(rescale_guidance(guided, cond, 1.0).std(axes), cond.std(axes))
    torch.testing.assert_close(rescale_guidance(guided, cond, 0.5)[0], guided[0] * (0.5 / 3 + 0.5))
    assert rescale_guidance(guided, cond, 0.0) is guided
    flat = torch.ones(SHAPE)
    assert torch.isfinite(rescale_guidance(flat, flat, 1.0)).all()


def test_rescale_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.1; got 1\.5"):
        text_guidance(never, never, 7.5, rescale=1.5)
