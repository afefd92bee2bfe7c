"""Training the motion network to parse stills of the procedural world.

The world knows regions and depth of every still and supervises them directly: the flow is a
formula of these and of the words (``nn.motion_field``), and trained through the flow alone regions
of little motion (waves, objects) stay at zero for thousands of steps, because the median of "maybe
it moves" is no motion. What reads the words is trained by its own task (``words``).
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn

from ..checkpoint import fill_module
from ..data.world import World
from ..nn.motion import MotionConfig, MotionNetwork
from ..nn.motion_field import OBJECT, REGIONS
from .bank import Bank, BankConfig, Sample, from_bytes, stills
from .sheet import HELD_OUT, picture_grid
from .task import Batch, TaskContext
from .weights import load_start

_COLORS = torch.tensor([[0.45, 0.4, 0.35], [0.55, 0.8, 1.0], [0.1, 0.3, 0.8], [1.0, 0.5, 0.1]])


@dataclass(frozen=True)
class MotionOptions:
    """Settings of the motion task.

    Attributes:
        size: Side of the stills in pixels.
        bank: Bank of stills.
        depth_weight: Weight of the depth's L1.
        object_weight: Weight of the object class in the cross-entropy: things are small.
        oblong: Share of batches cropped to an oblong shape.
        zoomed: Share of stills cropped and enlarged (soft pictures, things at the edges).
        motion: Fields of ``MotionConfig``.
        start: Earlier stage, or a model's file, whose weights to start from.
    """

    size: int = 128
    bank: BankConfig = field(default_factory=BankConfig)
    depth_weight: float = 1.0
    object_weight: float = 1.5
    oblong: float = 0.4
    zoomed: float = 0.3
    motion: dict[str, Any] = field(default_factory=dict)
    start: str = ""


class MotionTask:
    """Regions and depth from stills."""

    def __init__(self, options: MotionOptions, context: TaskContext) -> None:
        """Build the networks and an empty bank."""
        self.options, self.context = options, context
        settings: dict[str, Any] = {"size": options.size} | options.motion
        self.motion = MotionNetwork(MotionConfig(**settings))
        for part in (self.motion.read, self.motion.head):
            part.requires_grad_(False)
        self.modules: dict[str, nn.Module] = {"motion": self.motion}
        if options.start:
            before, _ = load_start(context.run, options.start)
            for name, module in self.modules.items():
                fill_module(module, before[name], repr(options.start))
        for module in self.modules.values():
            module.to(context.device)
        self.motion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        world = World(options.size, context.seed, str(context.data_device))
        self._bank = Bank(options.bank, stills(world))

    def config(self) -> dict[str, object]:
        """Return the networks' configurations."""
        return {"motion": asdict(self.motion.config)}

    def batch(self, index: int) -> Batch:
        """Return stills with their regions and depth."""
        generator = self.context.generator(index)
        drawn = self._bank.draw(index, self.context.batch_size, generator)
        return _augment(drawn, self.options, generator)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of both errors, and each of them."""
        image = from_bytes(batch["image"]).contiguous(memory_format=torch.channels_last)
        logits, depth = self.motion.parse(image)
        region = batch["region"].long()
        weight = logits.new_ones(len(REGIONS))
        weight[OBJECT] = self.options.object_weight
        parsing = F.cross_entropy(logits.float(), region, weight)
        nearness = (depth.float() - from_bytes(batch["depth"])).abs().mean()
        loss = parsing + self.options.depth_weight * nearness
        with torch.no_grad():
            right = (logits.argmax(1) == region).float().mean()
        parts = {"parsing": parsing, "depth": nearness, "right": right}
        return loss, {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def sheet(self) -> Image.Image:
        """Return held-out stills: picture, true regions, found regions, true depth, found depth."""
        world = World(self.options.size, HELD_OUT, str(self.context.device))
        seen = stills(world)(12, 0)
        image = from_bytes(seen["image"])
        logits, depth = self.motion.parse(image)
        colors = _COLORS.to(image.device)
        truth = colors[seen["region"].long()].movedim(-1, 1)
        found = torch.einsum("brhw,rc->bchw", logits.softmax(1), colors)
        gray = (from_bytes(seen["depth"]).expand_as(image), depth.expand_as(image))
        return picture_grid(torch.stack((image, truth, found, *gray), dim=1))


def _augment(drawn: Sample, options: MotionOptions, generator: Generator) -> Sample:
    """Mirror, enlarge, crop, and add the noise of a camera."""
    device, count = generator.device, len(drawn["image"])
    chance = torch.rand(count, 3, generator=generator, device=device)
    maps = torch.cat((drawn["image"], drawn["depth"], drawn["region"][:, None]), dim=1)
    maps = torch.where((chance[:, 0] < 0.5).view(-1, 1, 1, 1), maps.flip(-1), maps)
    enlarged = [
        _enlarge(m, 0.55 + 0.45 * float(much), generator) if take < options.zoomed else m
        for m, take, much in zip(maps, chance[:, 1].tolist(), chance[:, 2].tolist(), strict=True)
    ]
    maps = torch.stack(enlarged)
    shape = torch.rand(3, generator=generator, device=device).tolist()
    if shape[0] < options.oblong:
        side = options.size
        short = max(16, side * 5 // 8 // 16 * 16 + 16 * int(shape[1] * (side * 3 // 8 // 16)))
        start = int(torch.randint(side - short + 1, (), generator=generator, device=device))
        maps = maps.narrow(2 if shape[2] < 0.5 else 3, start, short)
    noise = torch.randn(maps[:, :3].shape, generator=generator, device=device)
    strength = 8 * torch.rand(count, 1, 1, 1, generator=generator, device=device) ** 3
    image = (maps[:, :3].float() + strength * noise).round().clamp(0, 255).to(torch.uint8)
    return {"image": image, "depth": maps[:, 3:4].contiguous(), "region": maps[:, 4].contiguous()}


def _enlarge(maps: Tensor, share: float, generator: Generator) -> Tensor:
    """Cut a square of a share of the side out of ``[5, S, S]`` and bring it back to full size."""
    side = maps.shape[-1]
    cut = max(8, int(share * side))
    place = torch.randint(side - cut + 1, (2,), generator=generator, device=generator.device)
    y, x = place.tolist()
    part = maps[None, :, y : y + cut, x : x + cut].float()
    smooth = F.interpolate(part[:, :4], (side, side), mode="bilinear", align_corners=False)
    label = F.interpolate(part[:, 4:], (side, side), mode="nearest")
    return torch.cat((smooth.round(), label), dim=1)[0].to(torch.uint8)
