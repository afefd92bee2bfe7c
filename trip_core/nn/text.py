"""A small text encoder that knows the words of motion.

Words outside its vocabulary are dropped before they reach the network, so they cannot do harm: a
prompt means what its known words mean. The vocabulary travels in the configuration.
"""

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TextConfig:
    """Size of the text encoder.

    Attributes:
        vocabulary: Known words, lower case; word k has id k + 1, id 0 is padding.
        width: Channels D of the encoding.
        num_layers: Transformer layers.
        num_heads: Attention heads.
        max_tokens: Tokens L of the encoding; later words are cut off.
    """

    vocabulary: tuple[str, ...] = field(default=())
    width: int = 128
    num_layers: int = 3
    num_heads: int = 4
    max_tokens: int = 64


class TextEncoder(nn.Module):
    """Word embeddings and a small transformer: prompts -> ``[B, L, D]``."""

    def __init__(self, config: TextConfig) -> None:
        """Build an untrained encoder."""
        super().__init__()
        self.config = config
        self._ids = {word: k + 1 for k, word in enumerate(config.vocabulary)}
        self.words = nn.Embedding(len(config.vocabulary) + 1, config.width)
        self.positions = nn.Embedding(config.max_tokens, config.width)
        nn.init.normal_(self.words.weight, std=0.5)
        nn.init.normal_(self.positions.weight, std=0.1)
        layer = nn.TransformerEncoderLayer(
            config.width, config.num_heads, 2 * config.width, 0.0, "gelu", 1e-5, True, True
        )
        self.layers = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)

    def tokenize(self, prompts: list[str]) -> Tensor:
        """Return word ids, ``[B, L]``, 0 where there is no word; unknown words are left out."""
        ids = torch.zeros(len(prompts), self.config.max_tokens, dtype=torch.long)
        for row, prompt in zip(ids, prompts, strict=True):
            known = [self._ids[w] for w in re.findall(r"[a-z]+", prompt.lower()) if w in self._ids]
            known = known[: self.config.max_tokens]
            row[: len(known)] = torch.tensor(known, dtype=torch.long)
        return ids

    def forward(self, ids: Tensor) -> Tensor:
        """Encode word ids ``[B, L]`` as ``[B, L, D]``; padding encodes as zeros."""
        known = ids > 0
        place = torch.arange(ids.shape[1], device=ids.device)
        x = self.words(ids) + self.positions(place)
        # The first token may always be attended to, so that an empty prompt is defined.
        blocked = ~known
        blocked[:, 0] = False
        x = self.norm(self.layers(x, src_key_padding_mask=blocked))
        keep = known.clone()
        keep[:, 0] = True
        return x * keep.unsqueeze(-1)

    def encode(self, prompts: list[str]) -> Tensor:
        """Return the encoding of prompts, ``[B, L, D]``."""
        return self(self.tokenize(prompts).to(self.words.weight.device))
