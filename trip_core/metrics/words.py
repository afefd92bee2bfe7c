"""Whether words are understood: motion read from many wordings against what they mean."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.captions import sample_caption
from ..nn.motion_field import MOTION_PARAMETERS

#: A parameter is understood if it is off by less than this share of its asked value ...
_TOLERANCE = 0.3
#: ... or, where none was asked, by less than this share of an ordinary move.
_QUIET = 0.1


@dataclass(frozen=True)
class WordFigures:
    """Wordings of one caption kind.

    Attributes:
        kind: Caption kind.
        wordings: How many random captions were read.
        understood: Share of them of which every parameter was read right.
        worst: The first caption that was not, or an empty text.
    """

    kind: str
    wordings: int
    understood: float
    worst: str


def evaluate_words(
    read: Callable[[list[str]], Tensor], kinds: Sequence[str], count: int, seed: int = 9001
) -> list[WordFigures]:
    """Read random captions of each kind, their speed words, subjects and styles included.

    Args:
        read: Prompts -> motion parameters ``[B, P]`` in the order of ``MOTION_PARAMETERS``.
        kinds: Caption kinds.
        count: Captions of each.
        seed: Which captions.
    """
    rng = random.Random(seed)
    scale = torch.tensor(list(MOTION_PARAMETERS.values()))
    figures = []
    for kind in kinds:
        captions = [sample_caption(rng, kind) for _ in range(count)]
        asked = torch.tensor([c.parameters for c in captions]) / scale
        error = (read([c.text for c in captions]).float().cpu() / scale - asked).abs()
        right = (error <= (_TOLERANCE * asked.abs()).clamp_min(_QUIET)).all(1)
        wrong = [c.text for c, good in zip(captions, right.tolist(), strict=True) if not good]
        figures.append(
            WordFigures(kind, count, right.float().mean().item(), wrong[0] if wrong else "")
        )
    return figures
