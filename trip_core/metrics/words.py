"""Whether words are understood: motion read from many wordings against what they mean."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data.captions import as_parameters, sample_caption
from ..intent import offered_motion, without_tremor
from ..nn.motion_field import MOTION_PARAMETERS

#: Prompts as users type them, and what they mean, written without a look at the grammar.
_TYPED = Path(__file__).with_name("typed_prompts.json")

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
    figures = []
    for kind in kinds:
        captions = [sample_caption(rng, kind) for _ in range(count)]
        texts = [c.text for c in captions]
        asked = torch.tensor([c.parameters for c in captions])
        figures.append(_figures(kind, texts, read(texts), asked))
    return figures


def evaluate_typed(
    read: Callable[[list[str]], Tensor], understood: Sequence[str]
) -> list[WordFigures]:
    """Read prompts that are not of the grammar, as the pipeline does: with what is held back.

    Args:
        read: Prompts -> motion parameters ``[B, P]`` in the order of ``MOTION_PARAMETERS``.
        understood: Names of the motion parameters that the model offers.
    """
    prompts = json.loads(_TYPED.read_text(encoding="utf-8"))
    figures = []
    for kind in dict.fromkeys(prompt["kind"] for prompt in prompts):
        some = [prompt for prompt in prompts if prompt["kind"] == kind]
        texts = [prompt["prompt"] for prompt in some]
        asked = torch.tensor([as_parameters(prompt["moves"]) for prompt in some])
        done = offered_motion(without_tremor(read(texts).float().cpu()), understood)
        figures.append(_figures(kind, texts, done, asked))
    return figures


def _figures(kind: str, texts: list[str], done: Tensor, asked: Tensor) -> WordFigures:
    scale = torch.tensor(list(MOTION_PARAMETERS.values()))
    done, asked = done.float().cpu() / scale, asked / scale
    right = ((done - asked).abs() <= (_TOLERANCE * asked.abs()).clamp_min(_QUIET)).all(1)
    wrong = [text for text, good in zip(texts, right.tolist(), strict=True) if not good]
    return WordFigures(kind, len(texts), right.float().mean().item(), wrong[0] if wrong else "")
