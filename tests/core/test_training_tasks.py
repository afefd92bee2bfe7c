"""The tasks: batches repeat, every parameter learns, one step lowers the loss, stages chain."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trip_core.nn.autoencoder import TinyAutoencoder
from trip_core.nn.motion import MotionNetwork
from trip_core.nn.motion_field import StillMotion
from trip_core.training.autoencoder import AutoencoderOptions, AutoencoderTask
from trip_core.training.bank import Bank, BankConfig, cached
from trip_core.training.dreamvideo import DreamVideoOptions, DreamVideoTask
from trip_core.training.motion import MotionOptions, MotionTask
from trip_core.training.task import Task, TaskContext
from trip_core.training.trip import TripOptions, TripTask
from trip_core.training.weights import save_weights
from trip_core.training.words import WordsOptions, WordsTask

SMALL_BANK = BankConfig(size=3, first=2, fresh=1)
SMALL_MOTION = {"attention_layers": 1, "fine_channels": 8}


def _context(run: Path) -> TaskContext:
    cpu = torch.device("cpu")
    return TaskContext(run, cpu, cpu, batch_size=2, seed=0)


def _make(name: str, run: Path) -> Task:
    context = _context(run)
    if name == "autoencoder":
        return AutoencoderTask(AutoencoderOptions(size=32, crop=16, bank=SMALL_BANK), context)
    if name == "motion":
        options = MotionOptions(size=32, bank=SMALL_BANK, motion=SMALL_MOTION)
        return MotionTask(options, context)
    if name == "words":
        return WordsTask(WordsOptions(), context)
    for stage in ("autoencoder", "words"):
        if not (run / stage).is_dir():
            (run / stage).mkdir()
            task = _make(stage, run)
            tensors = {
                f"{part}.{key}": value
                for part, module in task.modules.items()
                for key, value in module.state_dict().items()
            }
            save_weights(run / stage / "weights.safetensors", tensors, task.config())
    if name == "dreamvideo":
        return DreamVideoTask(DreamVideoOptions(size=32, num_frames=3, bank=SMALL_BANK), context)
    return TripTask(TripOptions(preset=name, size=32, num_frames=3, bank=SMALL_BANK), context)


TASKS = ("autoencoder", "motion", "words", "small", "small_paper", "small_minus", "dreamvideo")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.mark.parametrize("name", ("autoencoder", "motion", "words", "small", "dreamvideo"))
def test_a_batch_is_the_same_every_time(name: str, run: Path) -> None:
    task, again = _make(name, run), _make(name, run)
    task.batch(0)  # what was drawn before does not matter
    a, b = task.batch(3), again.batch(3)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    other = task.batch(4)
    assert any(a[k].shape != other[k].shape or not torch.equal(a[k], other[k]) for k in a)


@pytest.mark.parametrize("name", TASKS)
def test_one_step_lowers_the_loss_and_every_parameter_gets_a_gradient(name: str, run: Path) -> None:
    task = _make(name, run)
    named = [
        (f"{part}.{key}", parameter)
        for part, module in task.modules.items()
        for key, parameter in module.named_parameters()
        if parameter.requires_grad
    ]
    # Zero-initialised outputs hide what lies behind them at the very first step.
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in named:
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    batch = task.batch(0)
    optimizer = torch.optim.AdamW([p for _, p in named], lr=1e-4)
    before, parts = task.loss(batch)
    before.backward()
    assert all(value.ndim == 0 and value.isfinite() for value in parts.values())
    without = [key for key, p in named if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    dead = [key for key, p in named if p.grad is not None and not p.grad.any()]
    assert not [key for key in dead if not _rarely_used(key)]
    optimizer.step()
    after, _ = task.loss(batch)
    assert after < before


def _rarely_used(key: str) -> bool:
    """Biases in front of a normalisation or a softmax have no influence."""
    return key.endswith(("k_proj.bias", "in_proj_bias", "read.bias"))


@pytest.mark.parametrize("name", ("autoencoder", "motion", "small", "dreamvideo"))
def test_sheets_are_pictures(name: str, run: Path) -> None:
    sheet = _make(name, run).sheet()
    assert sheet is not None and min(sheet.size) >= 32


def test_an_untrained_motion_trip_with_the_true_flow_starts_near_the_warp(run: Path) -> None:
    task = _make("small", run)
    batch = task.batch(1)
    trust = batch["visibility"].float() / 255
    out = task.modules["trip"](
        torch.zeros_like(batch["latents"]).float(),
        torch.full((2,), 500),
        batch["text"].float(),
        batch["latents"][:, :, 0].float(),
        batch["warped"].float(),
        trust,
    )
    sure = (trust == 1).expand_as(out.x0)
    torch.testing.assert_close(out.x0[sure], batch["warped"].float()[sure], atol=1e-3, rtol=0)


def test_the_residual_path_learns_where_the_gate_trusts_the_still_wholly(run: Path) -> None:
    _make("small", run)  # makes the stages it stands on
    learned = []
    for weight in (0.0, 0.5):
        options = TripOptions(size=32, num_frames=3, bank=SMALL_BANK, residual_weight=weight)
        task = TripTask(options, _context(run))
        batch = task.batch(1)
        batch["visibility"] = torch.full_like(batch["visibility"], 255)
        loss, _ = task.loss(batch)
        (slope,) = torch.autograd.grad(loss, task.trip.unet.conv_out.bias)
        learned.append(slope.abs().max().item())
    assert learned[0] < 1e-6 < 1e-3 < learned[1]


def test_checkpointing_changes_no_number(run: Path) -> None:
    _make("small", run)
    gradients = []
    for wanted in (False, True):
        torch.manual_seed(0)
        options = TripOptions(size=32, num_frames=3, bank=SMALL_BANK, checkpointing=wanted)
        task = TripTask(options, _context(run))
        stages = [m for m in task.trip.unet.modules() if hasattr(m, "gradient_checkpointing")]
        assert stages and all(stage.gradient_checkpointing is wanted for stage in stages)
        task.trip.train()
        task.loss(task.batch(0))[0].backward()
        gradients.append([p.grad for p in task.trip.parameters()])
    torch.testing.assert_close(*gradients)


def test_autoencoder_starts_as_principal_components(run: Path) -> None:
    task = _make("autoencoder", run)
    vae = task.modules["vae"]
    assert isinstance(vae, TinyAutoencoder)
    latents = vae.encode(task.batch(0)["image"].float() / 127.5 - 1)
    assert latents.shape == (2, 16, 2, 2)
    assert 0.1 < latents.var() < 5


def test_unknown_stages_presets_and_crops_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="small_paper"):
        TripTask(TripOptions(preset="tiny"), _context(run))
    _make("small", run)
    with pytest.raises(ValueError, match="holds no TRIP but"):
        TripTask(TripOptions(start="autoencoder"), _context(run))
    with pytest.raises(ValueError, match="train stage 'autoencoder'"):
        TripTask(TripOptions(), _context(tmp_path))
    with pytest.raises(ValueError, match="multiple of 8"):
        AutoencoderTask(AutoencoderOptions(crop=20), _context(run))


def _count(number: int, index: int) -> dict[str, Tensor]:
    return {"index": torch.arange(index, index + number)}


def test_a_bank_slides_and_its_lanes_never_meet() -> None:
    generator = torch.Generator()
    bank = Bank(BankConfig(size=20, first=10, fresh=5), _count)
    early = bank.draw(0, 10, generator.manual_seed(0))["index"]
    assert sorted(early.tolist()) == list(range(10))
    late = bank.draw(7, 20, generator.manual_seed(0))["index"]
    assert sorted(late.tolist()) == list(range(25, 45))
    lanes = Bank(BankConfig(size=40, first=40, fresh=0, lanes=2), _count)
    a = set(lanes.draw(0, 40, generator.manual_seed(0))["index"].tolist())
    b = set(lanes.draw(1, 40, generator.manual_seed(0))["index"].tolist())
    assert len(a) == len(b) == 40 and not a & b


def test_a_cached_maker_makes_once(tmp_path: Path) -> None:
    calls = []

    def make(number: int, index: int) -> dict[str, Tensor]:
        calls.append(index)
        return _count(number, index)

    kept = cached(make, tmp_path / "kept")
    first, second = kept(4, 8), kept(4, 8)
    assert calls == [8] and torch.equal(first["index"], second["index"])
    # A resumed run asks for them in other numbers.
    assert kept(3, 9)["index"].equal(first["index"][1:])
    assert kept(1, 11)["index"].equal(first["index"][3:]) and calls == [8]


def test_a_clip_is_the_same_made_alone_and_among_others(run: Path, monkeypatch) -> None:
    guess = MotionNetwork.forward

    def dependent(self, still: Tensor, text: Tensor) -> StillMotion:
        """As real ones are in their last bits, plainly."""
        motion = guess(self, still, text)
        return replace(motion, parameters=torch.full_like(motion.parameters, 0.1 * len(still)))

    monkeypatch.setattr(MotionNetwork, "forward", dependent)
    _make("small", run)
    task = TripTask(TripOptions(size=32, num_frames=3, bank=SMALL_BANK), _context(run))
    make = task._clips._bank._make
    together = make(6, 32)
    for k in range(6):
        for name, value in make(1, 32 + k).items():
            assert value[0].equal(together[name][k]), (k, name)


def test_configurations_rebuild_the_modules(run: Path) -> None:
    task = _make("motion", run)
    config = task.config()
    assert config["motion"] == asdict(task.modules["motion"].config)
