"""What every test shares: no network, few threads, seeded generators."""

import os

# Set before torch and the Hugging Face libraries are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import pytest
import torch

# The tests' tensors are tiny: threads cost more than they bring, and one thread repeats exactly.
torch.set_num_threads(1)


@pytest.fixture
def generator():
    """A CPU generator with a fixed seed."""
    return torch.Generator().manual_seed(0)


def pytest_collection_modifyitems(items):
    """Skip what needs hardware that is not here."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs CUDA")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
