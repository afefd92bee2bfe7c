"""Every parametrisation stands for the same clean latents, noise and velocity."""

import pytest
import torch

from trip_core.prediction import epsilon_from, v_from, x0_from
from trip_core.schedule import noise_schedule

TYPES = ("epsilon", "v_prediction", "sample")


@pytest.fixture
def noised(generator):
    alpha_bar = noise_schedule().alphas_cumprod[torch.tensor([1, 300, 999])]
    x0, eps = (
        torch.randn(3, 2, 4, 5, 5, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    a = alpha_bar.view(-1, 1, 1, 1, 1)
    z_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    v = a.sqrt() * eps - (1 - a).sqrt() * x0
    return {"sample": x0, "epsilon": eps, "v_prediction": v}, z_t, alpha_bar


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_gives_the_same_three(noised, kind):
    true, z_t, alpha_bar = noised
    for function, name in (
        (x0_from, "sample"),
        (epsilon_from, "epsilon"),
        (v_from, "v_prediction"),
    ):
        found = function(true[kind], z_t, alpha_bar, kind)
        torch.testing.assert_close(found, true[name], rtol=1e-9, atol=1e-9)


def test_half_precision_outputs_are_computed_in_float32(noised):
    true, z_t, alpha_bar = noised
    half = true["v_prediction"].bfloat16()
    x0 = x0_from(half, z_t.float(), alpha_bar, "v_prediction")
    assert x0.dtype == torch.float32
    torch.testing.assert_close(
        x0, x0_from(half.float(), z_t.float(), alpha_bar, "v_prediction"), rtol=0, atol=0
    )


def test_v_is_safe_where_no_signal_is_left(noised):
    true, _, _ = noised
    x0 = x0_from(true["v_prediction"], true["epsilon"], torch.zeros(3), "v_prediction")
    torch.testing.assert_close(x0, -true["v_prediction"])


def test_wrong_use_names_both_shapes_or_the_types(noised):
    true, z_t, alpha_bar = noised
    with pytest.raises(ValueError, match=r"\(1, 2, 4, 5, 5\).*\(3, 2, 4, 5, 5\)"):
        x0_from(true["epsilon"][:1], z_t, alpha_bar, "epsilon")
    with pytest.raises(ValueError, match=r"epsilon, v_prediction, sample; got 'flow'"):
        x0_from(true["epsilon"], z_t, alpha_bar, "flow")
