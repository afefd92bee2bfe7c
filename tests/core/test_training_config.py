"""Configurations: unknown keys are errors, the shipped ones can be read, a tiny run works."""

from pathlib import Path

import pytest
import torch

from trip_core import checkpoint
from trip_core.tensor_files import read_header
from trip_core.training.config import PackConfig, TrainConfig, read_config
from trip_core.training.pack import check_files, pack
from trip_core.training.run import rehearse, task_options, train
from trip_core.training.weights import save_weights
from trip_core.trip_file import load_model

CONFIGS = Path(__file__).parents[2] / "configs"
STAGE = """
[run]
name = "test"
out = "runs/test"
[[stage]]
name = "one"
task = "motion"
steps = 2
batch_size = 2
learning_rate = 1e-3
"""
PACK = "[[pack]]\npath = 'm.safetensors'\nstages = ['one']\n[pack.defaults]\n"


def _read(tmp_path: Path, text: str) -> TrainConfig:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return read_config(path)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_configurations_can_be_read(path: Path) -> None:
    plan = read_config(path)
    for stage in plan.stages:
        task_options(stage)


@pytest.mark.parametrize(
    ("addition", "words"),
    [
        ("stepz = 3", "unknown key 'stepz'"),
        ("steps = 3", "not a TOML file"),
        ("clip = 'hard'", "clip in .* must be float"),
        ("tensorboard = 1", "tensorboard in .* must be bool"),
        ("warmup = true", "warmup in .* must be int"),
        ("betas = [0.9]", "betas in .* must have 2 values"),
        ("precision = 'fp8'", "must be one of 'no', 'bf16', 'fp16'"),
        ("ema = 1.0", "ema must be in 0..1"),
        ("save_every = 0", "save_every must be at least 1"),
        ("[other]\nx = 1", "unknown key 'other'"),
        ("[stage.learning_rates]\nx = 'fast'", r"learning_rates in .*\.x must be float"),
        ("[[stage]]\nname = 'one'\ntask = 'motion'", "must say steps"),
        ("[[pack]]\npath = 'x'\nstages = ['two']", r"names stages \['two'\]"),
        ("warmup = -5", "'one': warmup must be at least 0; got -5"),
        ("sheet_every = -4", "sheet_every must be at least 0; got -4"),
        ("workers = -2", "workers must be at least 0; got -2"),
        ("worker_threads = 0", "worker_threads must be at least 1; got 0"),
        ("clip = 0", "clip must be more than 0; got 0"),
        ("clip = nan", "clip must be more than 0; got nan"),
        ("final_rate = -3", "final_rate must be in 0..1; got -3"),
        ("weight_decay = -1", "weight_decay must be in 0..100; got -1"),
        ("betas = [2, 3]", r"betas must be in 0..1 \(1 excluded\); got 2"),
        ("betas = [0.9, nan]", r"betas must be in 0..1 \(1 excluded\); got nan"),
        ("learning_rates = {net = -1}", "learning_rates.net must be in 0..1; got -1"),
        (PACK + "stepz = 3", "unknown key 'stepz' in defaults of .*'m.safetensors'"),
        (PACK + "steps = 'many'", "steps in defaults of .* must be int; got 'many'"),
        (PACK.replace("m.s", "../m.s"), r"'../m.safetensors' must stay inside the run's folder"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, addition: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _read(tmp_path, STAGE + addition)


@pytest.mark.parametrize(
    ("line", "other", "words"),
    [
        ("learning_rate = 1e-3", "learning_rate = -1", "learning_rate must be in 0..1; got -1"),
        ("learning_rate = 1e-3", "learning_rate = nan", "learning_rate must be in 0..1; got nan"),
        ('"one"', '"../../../esc"', r"stage name '\.\./\.\./\.\./esc' .* letters, digits, - and _"),
        ('"one"', '""', "stage name '' .* letters, digits, - and _"),
        ("[run]", "seed = 0\n[run]", "unknown key 'seed'"),
        ("[run]", "[run]\nstages = 3", r"unknown key 'stages' in \[run\]"),
        ("[run]", "[run]\nseed = -1", "seed must be in 0..4294967295; got -1"),
        ('name = "test"', "name = 3", "name in .* must be str; got 3"),
    ],
)
def test_mistakes_in_what_every_run_says_are_named(
    tmp_path: Path, line: str, other: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        _read(tmp_path, STAGE.replace(line, other, 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run = 3", r"\[run\] must be a table; got 3"),
        ("[[run]]\nname = 'x'", r"\[run\] must be a table"),
        ("stage = 3", r"at least one \[\[stage\]\]"),
        ("stage = [3]", "stages in .* must be StageConfig; got 3"),
        ("pack = 3", r"written \[\[pack\]\]"),
        ("pack = ['x']", "pack in .* must be PackConfig; got 'x'"),
    ],
)
def test_tables_that_are_none_are_named(tmp_path: Path, text: str, words: str) -> None:
    rest = {"run": "name = 'x'\nout = 'y'", "stage": STAGE.split("[[stage]]")[1]}
    named = text.lstrip("[").split()[0].rstrip("]")
    tables = [text]
    tables += [f"[run]\n{rest['run']}"] * (named != "run")
    tables += [f"[[stage]]{rest['stage']}"] * (named != "stage")
    with pytest.raises(ValueError, match=words):
        _read(tmp_path, "\n".join(tables))


def test_models_files_are_looked_for_before_anything_is_trained(tmp_path: Path) -> None:
    for addition in (
        PACK.replace("['one']", "['one', 'no.safetensors']"),
        "[stage.options]\nstart = 'no.safetensors'",
    ):
        with pytest.raises(ValueError, match=r"no\.safetensors does not exist"):
            train(_read(tmp_path, STAGE + addition), out=tmp_path / "run", device="cpu")
        assert not (tmp_path / "run").exists()


def test_options_are_checked_before_anything_is_trained(tmp_path: Path) -> None:
    plan = _read(tmp_path, STAGE + "[stage.options]\nsizes = 3")
    with pytest.raises(ValueError, match="unknown key 'sizes'"):
        train(plan, out=tmp_path / "run", device="cpu")
    plan = _read(tmp_path, STAGE.replace('"motion"', '"dance"'))
    with pytest.raises(ValueError, match="task must be one of autoencoder, motion, words, trip"):
        train(plan, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_unreadable_files_and_unknown_stages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        read_config(tmp_path / "nothing.toml")
    with pytest.raises(ValueError, match="at least one"):
        _read(tmp_path, "[run]\nname = 'x'\nout = 'y'")
    with pytest.raises(ValueError, match="no stage 'two'"):
        train(_read(tmp_path, STAGE), out=tmp_path, stage="two")


def test_a_whole_tiny_run_makes_a_model_that_loads(tmp_path: Path) -> None:
    common = "steps = 1\nbatch_size = 1\nlearning_rate = 1e-4\n"
    bank = "bank = {size = 1, first = 1, fresh = 0}\nsize = 32\n"
    text = f"""
[run]
name = "tiny"
out = "unused"
[[stage]]
name = "coarse"
task = "autoencoder"
{common}
[stage.options]
{bank}
crop = 16
depth = 0
learn_encoder = false
[[stage]]
name = "autoencoder"
task = "autoencoder"
{common}
[stage.options]
{bank}
crop = 16
start = "coarse"
[[stage]]
name = "motion"
task = "motion"
{common}
[stage.options]
{bank}
[[stage]]
name = "words"
task = "words"
{common}
[stage.options]
start = "motion"
[[stage]]
name = "trip"
task = "trip"
{common}
[stage.options]
{bank}
num_frames = 2
keep_clips = true
[[pack]]
path = "model.safetensors"
stages = ["autoencoder", "words", "trip"]
[pack.defaults]
steps = 4
understood = ["pan", "zoom"]
"""
    plan = _read(tmp_path, text)
    (packed,) = train(plan, out=tmp_path / "run", device="cpu", progress=False)
    model = load_model(packed)
    assert model.defaults.steps == 4
    assert model.defaults.understood == ("pan", "zoom")
    assert model.trip.config.motion and model.motion is not None
    assert packed.stat().st_size < 25e6
    assert list((tmp_path / "run" / "clips").rglob("*.safetensors"))
    made = packed.stat().st_mtime_ns
    weights = tmp_path / "run" / "trip" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    train(plan, out=tmp_path / "run", device="cpu", progress=False)  # nothing is trained again
    assert weights.stat().st_mtime_ns == before and packed.stat().st_mtime_ns >= made


@pytest.fixture(scope="module")
def tiny_run() -> str:
    """A configuration that trains on, one step each, from the model that ships."""
    model = Path("trip_core/embedded/trip-small.safetensors").resolve()
    stage = f"""
steps = 2
batch_size = 1
learning_rate = 1e-4
[stage.options]
start = "{model.as_posix()}"
"""
    bank = "bank = {size = 1, first = 1, fresh = 0}\nsize = 32\n"
    return f"""
[run]
name = "on"
out = "unused"
[[stage]]
name = "autoencoder"
task = "autoencoder"
{stage}
{bank}
crop = 16
learn_encoder = false
[[stage]]
name = "motion"
task = "motion"
{stage}
{bank}
[[stage]]
name = "words"
task = "words"
{stage}
[[stage]]
name = "trip"
task = "trip"
{stage}
autoencoder = "{model.as_posix()}"
{bank}
num_frames = 2
[[pack]]
path = "model.safetensors"
stages = ["{model.as_posix()}", "motion", "trip"]
"""


def test_training_goes_on_from_a_finished_model(tiny_run: str, tmp_path: Path) -> None:
    (packed,) = train(_read(tmp_path, tiny_run), out=tmp_path, device="cpu", progress=False)
    before, after = load_model(None), load_model(packed)
    assert before.motion is not None and after.motion is not None
    old, new = before.motion.state_dict(), after.motion.state_dict()
    # The trunk moved a little from where it stood; what no stage of the pack trained is unchanged.
    assert 0 < float((old["stem.weight"] - new["stem.weight"]).abs().max()) < 1e-2
    assert torch.equal(old["head.0.weight"], new["head.0.weight"])
    fixed = before.trip.state_dict(), after.trip.state_dict()
    assert max(float((fixed[0][k] - fixed[1][k]).abs().max()) for k in fixed[0]) < 1e-2


def test_a_rehearsal_runs_everything_and_keeps_nothing(
    tiny_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _read(tmp_path, tiny_run)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    names = rehearse(plan, 1, device="cpu", progress=False)
    assert names == ["autoencoder", "motion", "words", "trip", "model.safetensors"]
    assert not list((tmp_path / "scratch").iterdir())
    with pytest.raises(ValueError, match="at least 1 step"):
        rehearse(plan, 0)


def test_a_paper_trip_is_packed_without_the_motion_network(tmp_path: Path) -> None:
    parts = {
        "words": ({"text.a": torch.ones(1), "motion.a": torch.ones(1)}, {"text": {}, "motion": {}}),
        "paper": ({"trip.a": torch.ones(1)}, {"trip": {"motion": False}}),
        "moving": ({"trip.a": torch.ones(1)}, {"trip": {"motion": True}}),
    }
    for stage, (tensors, config) in parts.items():
        (tmp_path / stage).mkdir()
        save_weights(tmp_path / stage / "weights.safetensors", tensors, config)
    for stage, expected in (("paper", {"text", "trip"}), ("moving", {"text", "trip", "motion"})):
        path = pack(PackConfig(f"{stage}.safetensors", ("words", stage)), tmp_path)
        assert set(checkpoint.read_config(path)) == expected
        assert {key.split(".")[0] for key in read_header(path).tensors} == expected


def test_a_pack_may_hold_what_an_earlier_pack_makes(tmp_path: Path) -> None:
    first = PackConfig("first.safetensors", ("one",))
    second = PackConfig("second.safetensors", (str(tmp_path / "first.safetensors"), "two"))
    check_files([], (first, second), tmp_path)
    with pytest.raises(ValueError, match=r"first\.safetensors does not exist"):
        check_files([], (second, first), tmp_path)
