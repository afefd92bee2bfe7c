"""Ships and sailing boats of the world's scenes."""

import torch
from torch import Generator, Tensor

from .shapes import Part, box, paint, pale, taper
from .textures import uniform


def ship(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """A tall ship: hull, bowsprit, masts with yards of sails, jibs."""
    hull = taper(u, v, -0.02, 0.16, 0.32, 0.46)
    bowsprit = torch.maximum((v - 0.14 - 0.35 * (u - 0.4)).abs() - 0.008, (u - 0.5).abs() - 0.22)
    parts = [(torch.minimum(hull, bowsprit), paint(g))]
    cloth, dark = pale(g), torch.tensor((0.15, 0.13, 0.11), device=g.device)
    sag, turn = uniform(g, 0, 0.12), uniform(g, -0.5, 0.5)
    for k in range(int(uniform(g, 1, 3.999))):
        mast = uniform(g, -0.05, 0.05) + (k - 1) * 0.25
        top = uniform(g, 0.7, 1.0)
        parts.append((box(u, v, mast - 0.012, mast + 0.012, 0.1, top), dark))
        if uniform(g) < 0.85:
            belly = uniform(g, 0.08, 0.17)
            for low, high in ((0.2, 0.44), (0.46, 0.66), (0.68, 0.82), (0.84, 0.94)):
                if high < top and uniform(g) < 0.9:
                    parts.append(_sail(u - mast - 0.02, v, low, high, belly, cloth, sag, turn))
    for k in range(int(uniform(g, 0, 3.5))):  # jibs, from the bowsprit up to the foremast
        foot = 0.66 - 0.13 * k
        jib = torch.maximum(u - foot + (v - 0.24) * (foot - 0.28) / 0.5, 0.3 + 0.05 * k - u)
        parts.append((torch.maximum(jib, 0.24 - v), cloth * uniform(g, 0.8, 1.0)))
    return [(d, p.to(u.device)) for d, p in parts]


def _sail(
    u: Tensor,
    v: Tensor,
    low: float,
    high: float,
    belly: float,
    cloth: Tensor,
    sag: float,
    turn: float,
) -> Part:
    """A square sail: its foot curved up, swollen by the wind and so lit unevenly."""
    across = (u / belly).clamp(-1, 1)
    foot = low + sag * (1 - across**2) * (high - low) * 2
    shape = torch.maximum(taper(u, v, low, high, belly, belly * 0.75), foot - v)
    swell = 0.85 + 0.3 * turn * across + 0.25 * (v - low) / (high - low)
    return shape, cloth.view(3, 1, 1) * swell.clamp(0.4, 1.2)


def yacht(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """A sailing boat: a hull, a mainsail and a jib, heeling."""
    heel = uniform(g, -0.3, 0.3)
    u = u - heel * v
    hull = taper(u, v, -0.03, 0.08, 0.22, 0.32)
    mast = box(u, v, -0.008, 0.008, 0.05, 1.0)
    main = torch.maximum(torch.maximum(u + 0.01, -u - 0.36 * (1.0 - v)), 0.12 - v)
    jib = torch.maximum(torch.maximum(0.02 - u, u - 0.3 * (0.85 - v)), 0.12 - v)
    cloth, other = pale(g), pale(g)
    fold = 0.8 + 0.3 * ((u + 0.2) * uniform(g, 2, 5)).clamp(-1, 1)
    return [
        (hull, paint(g)),
        (mast, torch.full((3,), 0.2, device=g.device)),
        (main, cloth.view(3, 1, 1) * fold),
        (jib, (cloth if uniform(g) < 0.6 else other).view(3, 1, 1) * (1.6 - fold)),
    ]
