"""What all layers of a scene share: the place, its light and colours, and the randomness.

Every layer is a canvas ``CANVAS`` times the picture's side; x and y run in picture units, origin at
the centre, y down.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .textures import power_noise, uniform

#: Side of a layer's canvas in picture sides: what camera moves may bring into view.
CANVAS = 1.5

# Sky colours by the hour: zenith, horizon, lit cloud, shaded cloud (sRGB).
SKIES = (
    ((0.20, 0.42, 0.78), (0.70, 0.83, 0.93), (0.98, 0.98, 0.98), (0.62, 0.68, 0.76)),  # day
    ((0.36, 0.60, 0.86), (0.86, 0.92, 0.95), (1.00, 0.99, 0.97), (0.70, 0.74, 0.80)),  # pale day
    ((0.28, 0.30, 0.52), (0.98, 0.66, 0.38), (1.00, 0.80, 0.60), (0.50, 0.38, 0.48)),  # sunset
    ((0.42, 0.26, 0.46), (0.99, 0.56, 0.42), (1.00, 0.70, 0.58), (0.44, 0.28, 0.44)),  # red evening
    ((0.48, 0.52, 0.58), (0.72, 0.75, 0.78), (0.86, 0.87, 0.88), (0.42, 0.45, 0.50)),  # overcast
    ((0.16, 0.19, 0.25), (0.44, 0.48, 0.52), (0.60, 0.62, 0.64), (0.15, 0.17, 0.21)),  # storm
    ((0.03, 0.05, 0.14), (0.12, 0.18, 0.34), (0.28, 0.32, 0.44), (0.06, 0.08, 0.16)),  # night
    ((0.10, 0.24, 0.34), (0.52, 0.72, 0.68), (0.80, 0.92, 0.86), (0.22, 0.38, 0.44)),  # teal
    ((0.62, 0.58, 0.72), (0.98, 0.86, 0.78), (1.00, 0.94, 0.90), (0.70, 0.62, 0.70)),  # dawn
)
GROUNDS = (
    (0.30, 0.42, 0.16),  # grass
    (0.44, 0.46, 0.20),  # dry grass
    (0.90, 0.93, 0.97),  # snow
    (0.76, 0.66, 0.48),  # sand
    (0.40, 0.39, 0.38),  # pavement
    (0.34, 0.24, 0.16),  # earth
    (0.52, 0.36, 0.24),  # desert
    (0.22, 0.30, 0.16),  # moor
    (0.60, 0.30, 0.34),  # flowers
)
WATERS = ((0.10, 0.26, 0.34), (0.12, 0.34, 0.40), (0.06, 0.12, 0.20), (0.20, 0.28, 0.28))
WATERS += ((0.14, 0.44, 0.52), (0.16, 0.18, 0.16), (0.30, 0.62, 0.68), (0.45, 0.58, 0.72))
WATERS += ((0.50, 0.54, 0.57),)  # shallows, a bright day, fog: as pale as a sky
STONES = ((0.36, 0.36, 0.40), (0.24, 0.26, 0.30), (0.20, 0.30, 0.20), (0.50, 0.45, 0.42))


@dataclass(frozen=True)
class Layer:
    """One layer of a scene; maps are ``[C, c, c]`` canvases.

    Attributes:
        color: sRGB, ``[3, c, c]``.
        alpha: Coverage, ``[1, c, c]``.
        depth: Nearness 0..1, ``[1, c, c]``.
        region: Index into ``REGIONS``, ``[1, c, c]``.
        movable: Whether the layer is a thing that can move by itself.
    """

    color: Tensor
    alpha: Tensor
    depth: Tensor
    region: Tensor
    movable: bool = False


@dataclass(frozen=True)
class Canvas:
    """What all layers of a scene share: the place, its light, and the randomness."""

    generator: Generator
    side: int  # canvas pixels
    x: Tensor  # [c, c]
    y: Tensor
    horizon: float  # y of the horizon
    palette: Tensor  # zenith, horizon, lit, shaded; [4, 3]
    light: float  # angle of the light
    textures: int  # side of a texture tile

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return one uniform number."""
        return uniform(self.generator, low, high)

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.uniform() < probability

    def pick(self, options: tuple) -> Tensor:  # type: ignore[type-arg]
        """Return one of the options as a tensor."""
        choice = options[int(self.uniform(0, len(options) - 1e-6))]
        return torch.tensor(choice, device=self.generator.device)

    def noise(self, slope: float = 1.5, stretch: float = 1.0, count: int = 1) -> Tensor:
        """Return power-law noise over the canvas, ``[count, c, c]``."""
        return power_noise(self.generator, count, self.side, slope, stretch)

    def tile(self, slope: float = 1.2, stretch: float = 1.0, count: int = 1) -> Tensor:
        """Return a tiling texture of power-law noise, ``[count, t, t]``."""
        return power_noise(self.generator, count, self.textures, slope, stretch)

    def layer(
        self, color: Tensor, alpha: Tensor | float, depth: Tensor | float, region: Tensor | int
    ) -> Layer:
        """Return a layer, its maps spread over the canvas."""
        shape = (1, self.side, self.side)

        def spread(value: Tensor | float) -> Tensor:
            return torch.as_tensor(value, device=color.device).expand(shape)

        return Layer(
            color.expand(3, -1, -1).clamp(0, 1),
            spread(alpha).float(),
            spread(depth).float(),
            spread(region).to(torch.uint8),
        )
