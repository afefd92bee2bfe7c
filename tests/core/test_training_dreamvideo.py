"""The DreamVideo task: TRIP's very batches, independent drops, a base that is kept."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.core.test_diffusers_folder import folder as modelscope  # noqa: F401  a fixture
from tests.core.test_training_tasks import SMALL_BANK, _context, _make
from trip_core.dreamvideo_file import load_dreamvideo
from trip_core.pipeline_dreamvideo import animate_dreamvideo
from trip_core.systems.dreamvideo import PRESETS
from trip_core.training.bank import BankConfig
from trip_core.training.clips import ClipOptions, FrozenParts, warped_clips
from trip_core.training.config import PackConfig, StageConfig
from trip_core.training.dreamvideo import DreamVideoOptions, DreamVideoTask
from trip_core.training.loop import train_stage
from trip_core.training.pack import pack
from trip_core.training.task import seeded
from trip_core.training.weights import save_weights

STAGE = StageConfig(
    "dreamvideo", "dreamvideo", steps=2, batch_size=2, learning_rate=1e-3, save_every=1, log_every=1
)
_TEMPORAL = {"temp_convs", "temp_attentions", "transformer_in"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose autoencoder, words and paper's TRIP are trained."""
    run = tmp_path_factory.mktemp("run")
    task = _make("small_minus", run)
    (run / "base").mkdir()
    tensors = {f"trip.{key}": value for key, value in task.trip.state_dict().items()}
    save_weights(run / "base" / "weights.safetensors", tensors, task.config())
    return run


def make(run: Path, **options) -> DreamVideoTask:
    settings = {"size": 32, "num_frames": 3, "bank": SMALL_BANK, **options}
    with seeded(0):
        return DreamVideoTask(DreamVideoOptions(**settings), _context(run))


def test_it_draws_the_batches_of_trip(run):
    trip, ours = _make("small_minus", run), make(run)
    for index in (0, 3):
        theirs, batch = trip.batch(index), ours.batch(index)
        for name in ("latents", "text", "timesteps", "seed"):
            assert theirs[name].equal(batch[name]), name
        assert batch["reference"].shape == (2, 3, 32, 32)


def test_text_and_picture_are_dropped_independently(run):
    task = make(run, caption_drop=0.5, picture_drop=0.5, bank=BankConfig(2, 2, 0))
    drawn = set()
    for index in range(24):
        batch = task.batch(index)
        for text, given in zip(batch["text"], batch["given"].tolist(), strict=True):
            drawn.add((bool(text.equal(task._clips._nothing[0])), given))
    assert len(drawn) == 4


@pytest.mark.parametrize("wanted", [False, True])
def test_checkpointing_reaches_the_branch_that_is_trained(run, wanted):
    model = make(run, checkpointing=wanted).model
    for part in (model.unet, model.retention):
        stages = [m for m in part.modules() if hasattr(m, "gradient_checkpointing")]
        assert stages and all(stage.gradient_checkpointing is wanted for stage in stages)


def test_a_base_is_taken_over_and_its_spatial_layers_stay(run):
    task = make(run, base="base")
    base = load_file(run / "base" / "weights.safetensors")
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    assert all(before[f"unet.{k[10:]}"].equal(v) for k, v in base.items() if "trip.unet." in k)
    train_stage(task, replace(STAGE, ema=0.0), run / "on_base", device="cpu", progress=False)
    after = task.model.state_dict()
    moved = {key for key, value in after.items() if not value.equal(before[key])}
    of_base = {key for key in moved if key.startswith("unet.")}
    assert of_base and all(_TEMPORAL & set(key.split(".")) for key in of_base)
    assert any(key.startswith("retention.projections") for key in moved)
    assert all(p.grad is None for p in task.model.parameters() if not p.requires_grad)


def test_killed_and_resumed_equals_uninterrupted(run):
    whole = train_stage(make(run), STAGE, run / "whole", device="cpu", progress=False)
    shutil.copytree(run / "whole", run / "cut")
    shutil.rmtree(run / "cut" / "checkpoint-00000002")
    (run / "cut" / "weights.safetensors").unlink()
    cut = train_stage(make(run), STAGE, run / "cut", device="cpu", resume=True, progress=False)
    assert whole.read_bytes() == cut.read_bytes()


def test_a_trained_stage_is_packed_goes_on_and_animates(run):
    (run / "dreamvideo").mkdir()
    task = make(run)
    tensors = {f"dreamvideo.{k}": v for k, v in task.model.state_dict().items()}
    save_weights(run / "dreamvideo" / "weights.safetensors", tensors, task.config())
    on = make(run, start="dreamvideo")
    assert all(v.equal(task.model.state_dict()[k]) for k, v in on.model.state_dict().items())
    stages = ("autoencoder", "words", "base", "dreamvideo")
    config = PackConfig("small.safetensors", stages, ("dreamvideo", "vae", "text"))
    config = replace(config, defaults={"steps": 1, "guidance_scale": 1.0, "size": 32})
    model = load_dreamvideo(pack(config, run))
    assert model.network.config == task.model.config
    clip = animate_dreamvideo(model, torch.rand(3, 32, 32), "pan left", num_frames=2)
    assert len(list(clip.frames)) == 2
    with pytest.raises(ValueError, match="wants the part 'motoin'"):
        pack(replace(config, parts=("motoin",)), run)


def test_a_modelscope_folder_is_a_base_and_brings_its_encoders(
    run,
    modelscope,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    folder = str(modelscope)
    options = {"base": folder, "autoencoder": folder, "words": folder}
    with pytest.raises(ValueError, match="sees 8 pixels a latent, the autoencoder makes one of 2"):
        make(run, preset="dreamvideo", **options)
    # The small folder's autoencoder halves pictures once.
    halved = replace(PRESETS["dreamvideo"], stem_widths=(4, 8))
    monkeypatch.setitem(PRESETS, "halved", halved)
    task = make(run, preset="halved", **options)
    base = load_file(modelscope / "unet" / "diffusion_pytorch_model.safetensors")
    ours = task.model.unet.state_dict()
    assert ours.keys() == base.keys() and all(ours[key].equal(base[key]) for key in base)
    loss, _ = task.loss(task.batch(0))
    loss.backward()
    assert loss.isfinite()
    tensors = {f"dreamvideo.{k}": v for k, v in task.model.state_dict().items()}
    (tmp_path / "full").mkdir()
    save_weights(tmp_path / "full" / "weights.safetensors", tensors, task.config())
    shutil.copytree(modelscope, tmp_path / "folder")
    packed = PackConfig("folder/dreamvideo.safetensors", ("full",), defaults={"size": 32})
    model = load_dreamvideo(pack(packed, tmp_path))
    clip = animate_dreamvideo(model, torch.rand(3, 32, 32), "abc", num_frames=2, steps=1)
    assert next(iter(clip.frames)).shape == (3, 32, 32)
    with pytest.raises(ValueError, match="no motion network"):
        warped_clips(FrozenParts(run, folder, folder), ClipOptions())


def test_wrong_names_are_one_sentence(run):
    with pytest.raises(ValueError, match="preset must be one of dreamvideo, small"):
        make(run, preset="tiny")
    with pytest.raises(ValueError, match="holds no DreamVideo but trip"):
        make(run, start="base")
    with pytest.raises(ValueError, match="holds no video UNet but vae"):
        make(run, base="autoencoder")
