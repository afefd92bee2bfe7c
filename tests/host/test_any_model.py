"""Image Noise Prior (any model) on rectified flow and on noise prediction, as the host has them."""

import pytest
import torch
from safetensors.torch import load_file

from tests.host.conftest import run_without_server
from trip_core.prior import UNTRAINED


@pytest.fixture(scope="module")
def steps(host_folder, tmp_path_factory):
    """What ``inside_any_model.py`` found."""
    file = tmp_path_factory.mktemp("any") / "steps.safetensors"
    run_without_server(host_folder, "inside_any_model.py", file)
    return load_file(file)


#: Kind of the host's model -> signal power at a sigma: flow mixes (1 - s) x0 + s noise, noise
#: prediction x0 + s noise.
KINDS = {
    "FLOW": lambda s: (1 - s) ** 2 / ((1 - s) ** 2 + s**2),
    "EPS": lambda s: 1 / (1 + s**2),
}


@pytest.mark.parametrize(("kind", "adds"), [("FLOW", 0.0), ("EPS", 0.0), ("ADDED", 1.0)])
def test_every_prediction_is_blended_by_the_signals_power(steps, kind, adds):
    """Whatever the guider adds to its guidance."""
    found = {k.removeprefix(f"{kind}."): t for k, t in steps.items() if k.startswith(kind)}
    still = found["still"] * 0.5  # as the network sees it
    assert len(found["sigmas"]) == 4
    for sigma, x, x0 in zip(found["sigmas"], found["x"], found["x0"], strict=True):
        x = x + adds
        alpha_bar = KINDS.get(kind, KINDS["EPS"])(sigma.double()).float().view(1)
        weight = UNTRAINED.scaled(0.6, 1.5, 0.5)(3, alpha_bar)  # [1, 1, F, 1, 1]
        if x.ndim == 4:
            weight = weight[0].movedim(0, 1)
        torch.testing.assert_close(x0, x + weight * (still - x), atol=1e-5, rtol=1e-5)
        assert weight.min() > 0 and weight.max() <= 0.6
