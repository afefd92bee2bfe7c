"""The loop on a toy task: it learns, resumes to the same numbers and stops on NaN."""

import dataclasses
import itertools
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trip_core.checkpoint import fill_module
from trip_core.training.config import StageConfig
from trip_core.training.ema import EMA
from trip_core.training.loop import TrainingDiverged, train_stage
from trip_core.training.optimizer import learning_rate_share
from trip_core.training.state import checkpoints
from trip_core.training.weights import load_weights

STAGE = StageConfig(
    "toy", "toy", steps=12, batch_size=8, learning_rate=1e-2, warmup=2, save_every=4, log_every=4
)


class Toy:
    """Learns a linear map; optionally breaks or is interrupted at a step."""

    def __init__(
        self, nan_at: int = -1, stop_at: int = -1, stop_by: signal.Signals = signal.SIGTERM
    ) -> None:
        generator = torch.Generator().manual_seed(1)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        self.modules: dict[str, nn.Module] = {"net": net}
        self.nan_at, self.stop_at, self.stop_by = nan_at, stop_at, stop_by

    def batch(self, index: int) -> dict[str, Tensor]:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(index))
        if index == self.nan_at:
            x = x * float("nan")
        if index == self.stop_at:
            os.kill(os.getpid(), self.stop_by)
        return {"x": x}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        error = (self.modules["net"](batch["x"]) - batch["x"][:, :2]).square().mean()
        return error, {"error": error.detach()}

    def sheet(self) -> None:
        return None

    def config(self) -> dict[str, object]:
        return {"net": {"width": 8}}


def _train(folder: Path, task: Toy, resume: bool = False, **changes: object) -> Path:
    stage = dataclasses.replace(STAGE, **changes)
    return train_stage(task, stage, folder, device="cpu", resume=resume, progress=False)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, accumulation: int) -> None:
    whole = _train(tmp_path / "whole", Toy(), accumulation=accumulation)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", Toy(stop_at=6), accumulation=accumulation)
    cut = _train(tmp_path / "cut", Toy(), resume=True, accumulation=accumulation)
    for name in ("modules", "average", "optimizer"):
        a = load_file(whole.parent / "checkpoint-00000012" / f"{name}.safetensors")
        b = load_file(cut.parent / "checkpoint-00000012" / f"{name}.safetensors")
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), name
    assert whole.read_bytes() == cut.read_bytes()


def test_background_batches_are_the_same(tmp_path: Path) -> None:
    here = _train(tmp_path / "here", Toy(), precision="no")
    there = _train(tmp_path / "there", Toy(), precision="no", workers=1)
    assert here.read_bytes() == there.read_bytes()


def test_it_learns_and_hands_on_weights_with_their_config(tmp_path: Path) -> None:
    weights = _train(tmp_path / "toy", Toy(), steps=60, precision="no")
    parts, config = load_weights(weights)
    assert config == {"net": {"width": 8}}
    task, fresh = Toy(), Toy()
    fill_module(task.modules["net"], parts["net"], "the test")
    assert task.loss(task.batch(999))[0] < 0.8 * fresh.loss(fresh.batch(999))[0]
    lines = (tmp_path / "toy" / "log.jsonl").read_text().splitlines()
    assert len(lines) == 60 // STAGE.log_every


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"step 9.*checkpoint-00000008"):
        _train(tmp_path / "nan", Toy(nan_at=9))
    kept = checkpoints(tmp_path / "nan")
    assert kept[-1].name == "checkpoint-00000008"
    assert all(v.isfinite().all() for v in load_file(kept[-1] / "modules.safetensors").values())


def test_old_checkpoints_are_dropped_and_a_second_run_must_say_resume(tmp_path: Path) -> None:
    _train(tmp_path / "toy", Toy(), keep=1)
    assert [p.name for p in checkpoints(tmp_path / "toy")] == ["checkpoint-00000012"]
    with pytest.raises(ValueError, match="--resume"):
        _train(tmp_path / "toy", Toy())


def test_no_pickles(tmp_path: Path) -> None:
    _train(tmp_path / "toy", Toy())
    kinds = {p.suffix for p in (tmp_path / "toy").rglob("*") if p.is_file()}
    assert kinds == {".safetensors", ".json", ".jsonl"}


def test_two_learning_rates(tmp_path: Path) -> None:
    weights = _train(tmp_path / "toy", Toy(), learning_rates={"net.0": 0.0}, ema=0.0)
    trained = load_weights(weights)[0]["net"]
    start = Toy().modules["net"].state_dict()
    assert torch.equal(trained["0.weight"], start["0.weight"])
    assert not torch.equal(trained["2.weight"], start["2.weight"])
    with pytest.raises(ValueError, match="'nett'"):
        _train(tmp_path / "other", Toy(), learning_rates={"nett": 0.1})


def test_learning_rate_rises_then_falls() -> None:
    stage = dataclasses.replace(STAGE, steps=100, warmup=10, final_rate=0.1)
    shares = [learning_rate_share(step, stage) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[10] == pytest.approx(1.0)
    assert shares[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(shares[10:]))


def test_average_follows_and_gives_back() -> None:
    net = Toy().modules["net"]
    before = net[0].weight.detach().clone()
    average = EMA(net, 0.5)
    with torch.no_grad():
        net[0].weight.add_(1)
    average.update(1000)
    torch.testing.assert_close(average.shadow["0.weight"], before + 0.5)
    with average.applied():
        torch.testing.assert_close(net[0].weight.detach(), before + 0.5)
    torch.testing.assert_close(net[0].weight.detach(), before + 1)


def test_weights_of_another_model_are_named() -> None:
    with pytest.raises(ValueError, match=r"'0\.weight' .* is missing"):
        fill_module(Toy().modules["net"], {}, "a file")
    with pytest.raises(ValueError, match="train stage 'nowhere'"):
        load_weights(Path("nowhere/weights.safetensors"))
