"""Laws of the motion network."""

import pytest
import torch

from trip_core.nn.motion import MotionConfig, MotionNetwork
from trip_core.nn.motion_field import motion_flow

TINY = MotionConfig(channels=(8, 16), fine_channels=8, attention_layers=1, text_width=16)


def test_untrained_it_moves_nothing():
    motion = MotionNetwork(TINY)(torch.rand(1, 3, 32, 48), torch.rand(1, 5, 16))
    flow, visibility = motion_flow(motion, 4)
    assert flow.shape == (1, 2, 4, 32, 48) and flow.abs().max() < 1e-4
    assert visibility.min() > 0.999
    assert torch.allclose(motion.regions.sum(1), torch.ones(1, 32, 48), atol=1e-5)


def test_the_parsing_does_not_depend_on_the_batch():
    network = MotionNetwork(TINY).eval()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    together, depth = network.parse(images)
    alone, depth_alone = network.parse(images[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-4)
    assert torch.allclose(depth[1:2], depth_alone, atol=1e-5)


def test_every_parameter_gets_a_finite_gradient():
    network = MotionNetwork(TINY)
    for parameter in network.parameters():  # wake the zero-initialised layers
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    motion = network(torch.rand(2, 3, 32, 32), torch.rand(2, 5, 16))
    loss = motion.parameters.square().sum() + motion.regions[:, 1].sum() + motion.depth.sum()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiples of 16; got 30x32"):
        MotionNetwork(TINY).parse(torch.rand(1, 3, 32, 30))
