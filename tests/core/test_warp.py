"""Laws of the warp."""

import pytest
import torch

from trip_core.nn.warp import warp


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(16, 16), (9, 20)])
def test_flow_zero_returns_the_still(mode, shape):
    image = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    out = warp(image, torch.zeros(2, 2, 4, *shape), mode=mode)
    assert out.shape == (2, 3, 4, *shape)
    assert torch.allclose(out, image.unsqueeze(2).expand_as(out), atol=1e-5)


def test_a_whole_pixel_shift_is_exact_and_edges_mirror():
    image = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 5, 5)
    flow = torch.zeros(1, 2, 1, 5, 5)
    flow[:, 0] = 2  # every pixel comes from two to the right
    out = warp(image, flow)[0, 0, 0, 2]
    assert torch.allclose(out, torch.tensor([2.0, 3.0, 4.0, 4.0, 3.0]), atol=1e-5)


def test_a_flow_of_another_size_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\[1, 2, F, 8, 8\].*\(1, 2, 3, 4, 4\)"):
        warp(torch.rand(1, 3, 8, 8), torch.zeros(1, 2, 3, 4, 4))
