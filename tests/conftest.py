"""What every test shares: no network, few threads, seeded generators."""

import os
import re

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """``--dist loadfile``: a file's tests run in one process, and so do all that ask one host."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneServerAHost(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            host = re.search(r"\[(\d+\.\d+\.\d+)", test) if file.startswith("tests/host/") else None
            return f"ComfyUI {host[1]}" if host else file

    return OneServerAHost(config, log)


def pytest_collection_modifyitems(items):
    """Skip what needs hardware that is not here."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs CUDA")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
