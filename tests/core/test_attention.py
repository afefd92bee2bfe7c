"""Attention by any path is softmax(q k / sqrt(d)) v; the default layers are torch.nn's."""

import pytest
import torch
import torch.nn.functional as F

from trip_core.nn import attention, layers
from trip_core.nn.attention import GEGLU, SelfAttention, attend
from trip_core.nn.embeddings import timestep_embedding


def exact(query, key, value):
    return F.scaled_dot_product_attention(query.double(), key.double(), value.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("items", "queries", "keys"), [(3, 5, 5), (3, 50, 7), (2, 64, 7), (2, 70, 70), (1, 9, 130)]
)
def test_attention_is_attention(generator, dtype, items, queries, keys, monkeypatch):
    q = torch.randn(items, queries, 4, 8, generator=generator).transpose(1, 2).to(dtype)
    k, v = torch.randn(2, items, keys, 4, 8, generator=generator).transpose(2, 3).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for scores in (2**20, 4 * keys * 9, 1):  # all at once; some rows at a time; one row at a time
        monkeypatch.setattr(attention, "_SCORES", scores)
        out = attend(q, k, v)
        assert out.shape == q.shape
        torch.testing.assert_close(out.double(), exact(q, k, v), atol=tolerance, rtol=tolerance)


def test_positions_that_take_no_part_stay_apart(generator):
    """Attention along time at one pixel sees that pixel only."""
    layer = SelfAttention(16, 8)
    x = torch.randn(2, 5, 6, 16, generator=generator)  # [B, F, pixels, C]
    with torch.no_grad():
        together = layer(x)
        for pixel in range(6):
            torch.testing.assert_close(layer(x[:, :, pixel]), together[:, :, pixel])


def test_a_gated_layer_is_the_same_in_one_product_and_in_two(generator):
    ours, hosts = GEGLU(24, 16), GEGLU(24, 16, torch.nn)  # a host's layer is called whole
    hosts.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 24, generator=generator)
    torch.testing.assert_close(ours(x), hosts(x), atol=1e-6, rtol=1e-5)
    grads = [torch.autograd.grad(f(x).square().sum(), f.proj.weight)[0] for f in (ours, hosts)]
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 8, 24), (1, 24), (3, 5, 24), (0, 24), (2, 16, 7, 24)])
def test_linear_equals_torch(generator, shape):
    ours, plain = layers.Linear(24, 10), torch.nn.Linear(24, 10)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(shape, generator=generator)
    torch.testing.assert_close(ours(x), plain(x))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("size", [4, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_equals_torch(generator, size, dtype, trained):
    ours = layers.GroupNorm(4, 16).to(dtype)
    x = torch.randn(2, 16, size, size, generator=generator).to(dtype)
    x = x.to(memory_format=torch.channels_last).requires_grad_(trained)
    y = ours(x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    exact = x.detach().float().requires_grad_(trained)
    expected = F.group_norm(exact, 4)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(y.float(), expected, atol=tolerance, rtol=tolerance)
    if trained:
        y.pow(3).sum().backward()
        expected.pow(3).sum().backward()
        torch.testing.assert_close(x.grad.float(), exact.grad, atol=0.5, rtol=0.1)


def test_timestep_embedding():
    embedding = timestep_embedding(torch.tensor([0, 10]), 6)
    assert torch.equal(embedding[0], torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert embedding[1, 0].item() == pytest.approx(torch.tensor(10.0).cos().item(), abs=1e-6)
    with pytest.raises(ValueError, match="even width, not 7"):
        timestep_embedding(torch.tensor([0]), 7)
