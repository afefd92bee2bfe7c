"""Laws of the text encoder: unknown words do no harm."""

import torch

from trip_core.data.captions import vocabulary
from trip_core.nn.text import TextConfig, TextEncoder


def encoder():
    return TextEncoder(TextConfig(vocabulary=tuple(vocabulary()), width=32)).eval()


def test_unknown_words_change_nothing():
    text = encoder()
    plain = text.encode(["the camera pans left"])
    noisy = text.encode(["Xyzzy, the (camera:1.2) pans GROTESQUE left!! 8k"])
    assert torch.equal(plain, noisy)


def test_an_empty_prompt_is_defined_and_batches_do_not_mix():
    text = encoder()
    both = text.encode(["", "slow zoom in while clouds drift left"])
    assert torch.isfinite(both).all()
    assert torch.allclose(
        both[1:], text.encode(["slow zoom in while clouds drift left"]), atol=1e-5
    )
    assert torch.allclose(both[:1], text.encode([""]), atol=1e-5)


def test_word_order_matters_and_long_prompts_are_cut():
    text = encoder()
    assert not torch.allclose(
        text.encode(["clouds left camera right"]), text.encode(["camera left clouds right"])
    )
    assert text.encode(["pan left " * 5000]).shape == (1, text.config.max_tokens, 32)
