"""Training the text encoder to read motion from captions.

Regions come from the picture and motion from the words, so the two are learned apart: a step on
captions costs a fraction of one on pictures, and words need more steps.
"""

import random
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import fill_module
from ..data.captions import sample_caption, vocabulary
from ..nn.motion import MotionConfig, MotionNetwork
from ..nn.text import TextConfig, TextEncoder
from .task import Batch, TaskContext
from .weights import load_start

#: An error below this share of an ordinary move is not seen in a clip.
_CLOSE = 0.1
_PARTS = 4
_COMBINED = ("combined", "combined", "cameras", "denied", "ambient")


@dataclass(frozen=True)
class WordsOptions:
    """Settings of the words task.

    Attributes:
        start: Earlier stage, or a model's file, whose motion network reads the words; its
            pictures' side is kept as it is, and its text encoder, if it has one, is trained on.
            Empty: new networks.
        combined: Share of captions that combine or deny motions, beyond the grammar's own: which
            word belongs to which motion is the last thing to be learned.
        text: Fields of ``TextConfig``; its vocabulary is the grammar's.
    """

    start: str = ""
    combined: float = 0.5
    text: dict[str, int] = field(default_factory=dict)


class WordsTask:
    """Motion parameters from captions."""

    def __init__(self, options: WordsOptions, context: TaskContext) -> None:
        """Build the networks; only what reads words is trained."""
        self._options, self._context = options, context
        self.text = TextEncoder(TextConfig(vocabulary=tuple(vocabulary()), **options.text))
        self.motion = MotionNetwork(MotionConfig(text_width=self.text.config.width))
        if options.start:
            tensors, made = load_start(context.run, options.start)
            self.motion = MotionNetwork(MotionConfig(**made["motion"]))
            fill_module(self.motion, tensors["motion"], repr(options.start))
            if "text" in tensors:
                fill_module(self.text, tensors["text"], repr(options.start))
        self.motion.requires_grad_(False)
        for part in (self.motion.read, self.motion.head):
            part.requires_grad_(True)
        self.modules: dict[str, nn.Module] = {"text": self.text, "motion": self.motion}
        for module in self.modules.values():
            module.to(context.device)

    def config(self) -> dict[str, object]:
        """Return the networks' configurations."""
        return {"text": asdict(self.text.config), "motion": asdict(self.motion.config)}

    def batch(self, index: int) -> Batch:
        """Return captions and the motion that they mean."""
        rng = random.Random(f"{self._context.seed} {index}")
        mixed = [rng.random() < self._options.combined for _ in range(self._context.batch_size)]
        kinds = [rng.choice(_COMBINED) if m else None for m in mixed]
        captions = [sample_caption(rng, kind) for kind in kinds]
        captions.sort(key=lambda caption: len(caption.text))  # for loss()
        return {
            "ids": self.text.tokenize([caption.text for caption in captions]),
            "parameters": torch.tensor([caption.parameters for caption in captions]),
        }

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error in ordinary moves.

        Quadratic when small: under an L1 alone, the best answer to an unsure word is none at all,
        and the network stays there for thousands of steps.
        """
        scale = self.motion.get_buffer("parameter_scale")
        read = torch.cat([self._read(ids) for ids in batch["ids"].chunk(_PARTS)]) / scale
        asked = batch["parameters"] / scale
        right = ((read - asked).abs() < _CLOSE).all(1).float().mean()
        return 10 * F.smooth_l1_loss(read, asked, beta=0.2), {"right": right.detach()}

    def _read(self, ids: Tensor) -> Tensor:
        """Read captions of about the same length: no work on what only the longest need."""
        longest = max(1, int((ids > 0).sum(1).max()))
        return self.motion.understand(self.text(ids[:, :longest]))

    def sheet(self) -> None:
        """Words have no picture."""
