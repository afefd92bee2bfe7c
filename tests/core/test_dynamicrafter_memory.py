"""What a forward of the full-size network keeps alive, counted without memory for it."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trip_core.systems.dynamicrafter import ACTIVATIONS, PRESETS, DynamiCrafter


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of the storages that are alive."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage())
        return out

    def _see(self, storage):
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += self.alive[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key):
        self.now -= self.alive.pop(key, 0)


def test_the_memory_of_a_forward_is_known(monkeypatch):
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda query, *_, **__: torch.empty_like(query),  # on the meta device it would be whole
    )
    branches, frames, height, width = 2, 16, 40, 64
    with torch.device("meta"), torch.no_grad():
        network = DynamiCrafter(PRESETS["512"]).to(torch.float16)
        z_t, times = torch.empty(branches, 4, frames, height, width), torch.zeros(branches).long()
        text = torch.empty(branches, 77, 1024, dtype=torch.float16)
        image = torch.empty(branches, frames, 16, 1024, dtype=torch.float16)
        with PeakBytes() as counted:
            network(z_t, times, network.context_keys_values(text, image), z_t)
    numbers = counted.peak / 2 / (branches * frames * height * width * 320)
    assert 0.8 * ACTIVATIONS < numbers <= ACTIVATIONS
