"""Laws of checkpoints: what is saved is what is loaded, and nothing else is taken for a model."""

import json
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.core.tiny_model import tiny_model
from trip_core.checkpoint import CONFIG_KEY, fill_module, load_parts, read_config, save_checkpoint
from trip_core.models import info
from trip_core.tensor_files import read_header
from trip_core.trip_file import load_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole tiny model: (its file, its config, its modules by part)."""
    config, modules = tiny_model()
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(path, config, {part: m.state_dict() for part, m in modules.items()})
    return path, config, modules


def test_saved_is_loaded(whole):
    path, config, modules = whole
    model = load_model(path)
    for part in ("trip", "vae", "text", "motion"):
        expected, found = modules[part].state_dict(), getattr(model, part).state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
        assert not getattr(model, part).training
        assert not any(p.requires_grad for p in getattr(model, part).parameters())
    assert model.config == json.loads(json.dumps(config))
    assert (model.defaults.steps, model.defaults.size) == (2, 32)
    assert model.trip.config == modules["trip"].config


def test_only_the_system_changes_its_type(whole):
    model = load_model(whole[0], dtype=torch.bfloat16)
    kinds = {
        part: {p.dtype for p in getattr(model, part).parameters()}
        for part in ("trip", "vae", "text", "motion")
    }
    narrow, wide = {torch.bfloat16}, {torch.float32}
    assert kinds == {"trip": narrow, "vae": wide, "text": wide, "motion": wide}


def test_the_same_model_gives_the_same_bytes(whole, tmp_path):
    path, config, modules = whole
    parts = {part: m.state_dict() for part, m in reversed(modules.items())}
    save_checkpoint(tmp_path / "again", dict(reversed(config.items())), parts)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_every_type_comes_back_and_the_library_reads_it(tmp_path):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 2, (3, 5), generator=generator)
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    state = {str(kind): values.to(kind) for kind in kinds}
    state |= {"scalar": torch.tensor(0.5), "none": torch.zeros(0, 3), "turned": values.float().T}
    save_checkpoint(tmp_path / "a", {"vae": {}}, {"vae": state})
    back = load_parts(tmp_path / "a", ["vae"])["vae"]
    library = load_file(tmp_path / "a")
    for key, value in state.items():
        assert torch.equal(back[key], value) and back[key].dtype == value.dtype
        assert torch.equal(library[f"vae.{key}"], value)
    with pytest.raises(ValueError, match="complex64"):
        save_checkpoint(tmp_path / "b", {}, {"vae": {"x": torch.zeros(1, dtype=torch.complex64)}})
    assert not (tmp_path / "b").exists()


def test_a_failing_save_leaves_the_older_file_alone(whole, tmp_path, monkeypatch):
    path, config, modules = whole
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"older")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"model.safetensors could not be written: No space left"):
        save_checkpoint(target, config, {"vae": modules["vae"].state_dict()})
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"older"


def test_info_counts_without_loading(whole):
    path, config, modules = whole
    facts = info(path)
    assert facts["kind"] == "TRIP checkpoint" and facts["bytes"] == path.stat().st_size
    assert facts["config"] == json.loads(json.dumps(config))
    assert (facts["system"], facts["variant"]) == ("TRIP", "TRIP with motion")
    assert facts["prediction_type"] == "v_prediction" and facts["missing"] == []
    for part, module in modules.items():
        state = module.state_dict()
        assert facts["parts"][part]["tensors"] == len(state)
        assert facts["parts"][part]["parameters"] == sum(t.numel() for t in state.values())
        assert facts["parts"][part]["dtypes"] == ["F32"]


def refused(path, words):
    with pytest.raises(ValueError, match=words) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["old", "zip"])
def test_pickles_are_refused_whatever_their_name(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    if kind == "old":
        path.write_bytes(pickle.dumps({"weight": [1, 2]}))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps({}))
    assert "python -m trip_core convert" in refused(path, "is a pickle")


@pytest.mark.parametrize("keep", [9, 500, 0.5, -1])
def test_truncated_files_are_refused(whole, tmp_path, keep):
    data = whole[0].read_bytes()
    size = int(len(data) * keep) if isinstance(keep, float) else keep
    (tmp_path / "a").write_bytes(data[:size])
    refused(tmp_path / "a", "is truncated")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<html>not found</html>", b"\x10" + b"\0" * 30]
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path / "a", "is not a safetensors file")
    (tmp_path / "b").write_bytes((20).to_bytes(8, "little") + b'{"a": 1, "b": [2]}  ')
    refused(tmp_path / "b", "damaged safetensors header")
    refused(tmp_path / "c", "does not exist")
    refused(tmp_path, "without model_index.json")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "original Stable Diffusion"),
        ("image_proj_model.latents", "DynamiCrafter"),
        ("down_blocks.0.temp_convs.0.conv1.0.weight", "without its autoencoder"),
        ("lora_unet_down.weight", "LoRA"),
        ("weight", "1 unknown tensors"),
    ],
)
def test_foreign_safetensors_are_named_by_their_keys(tmp_path, key, words):
    save_file({key: torch.zeros(2, 3)}, tmp_path / "a.safetensors", {"format": "pt"})
    message = refused(tmp_path / "a.safetensors", words)
    assert f"{key} [2, 3]" in message


def test_mismatches_name_the_first_keys_and_shapes(whole, tmp_path):
    _, config, modules = whole
    parts = {part: dict(m.state_dict()) for part, m in modules.items()}
    trip = parts["trip"]
    first = next(iter(trip))
    trip[first] = torch.zeros(3, 4)
    gone = list(trip)[5]
    shape = list(trip.pop(gone).shape)
    trip["new.weight"] = torch.zeros(7)
    save_checkpoint(tmp_path / "a", config, parts)
    message = refused(tmp_path / "a", "part 'trip'")
    assert f"{first!r} is [3, 4] where" in message
    assert f"{gone!r} {shape} is missing" in message and "'new.weight' [7] is not known" in message


def test_configs_that_do_not_fit_are_refused(whole, tmp_path):
    _, config, modules = whole
    parts = {part: m.state_dict() for part, m in modules.items()}
    for changed, words in (
        ({"vae": {"latent_chanels": 16}}, "unknown key 'latent_chanels'"),
        ({"trip": {**config["trip"], "prio": 1}}, "prio"),
        ({"defaults": {"stepps": 2}}, "unknown key 'stepps'"),
        ({"vae": None}, "missing"),
        ({"vae": {**config["vae"], "latent_channels": "x"}}, "latent_channels .* must be int"),
        ({"vae": {**config["vae"], "latent_channels": -1}}, "no network can be built"),
        ({"trip": {**config["trip"], "unet": [1]}}, "must be a table|must be VideoUNetConfig"),
        ({"defaults": {"size": "big"}}, "a: size in trip_config.defaults must be int; got 'big'"),
        ({"defaults": {"understood": None}}, "understood .* must be tuple"),
        ({"defaults": None}, "must be a table; got None"),
        ({"defaults": {"size": 10**6}}, "a: size .* 16 to 4096 pixels; got 1000000"),
        ({"defaults": {"size": 0}}, "size .* got 0"),
        ({"defaults": {"size": -128}}, "size .* got -128"),
        ({"defaults": {"steps": -5}}, "steps .* 1 to 1000; got -5"),
        ({"defaults": {"guidance_scale": float("nan")}}, "guidance_scale .* 0 to 50; got nan"),
        ({"defaults": {"guidance_scale": -1}}, "guidance_scale .* got -1"),
        ({"defaults": {"understood": ["pan", "foo"]}}, "understood .* pan, tilt.*; got 'foo'"),
    ):
        save_checkpoint(tmp_path / "a", {**config, **changed}, parts)
        refused(tmp_path / "a", words)
    save_checkpoint(tmp_path / "a", config, {**parts, "motoin": {"a": torch.zeros(1)}})
    refused(tmp_path / "a", "motoin")
    del parts["text"]
    save_checkpoint(tmp_path / "a", config, parts)
    refused(tmp_path / "a", "no part 'text'")


_ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("metadata", "entry"),
    [
        ([1, 2], {}),
        ({CONFIG_KEY: 5}, {}),
        ({}, {"shape": ["a"]}),
        ({}, {"shape": [-1]}),
        ({}, {"shape": "12"}),
        ({}, {"shape": [1.5]}),
        ({}, {"dtype": ["F32"]}),
        ({}, {"data_offsets": [0]}),
        ({}, {"data_offsets": ["0", "4"]}),
        ({}, {"data_offsets": [8, 4]}),
    ],
)
def test_headers_of_other_values_are_damaged(tmp_path, metadata, entry):
    header = json.dumps({"__metadata__": metadata, "a": _ENTRY | entry}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for read in (load_model, info):
        with pytest.raises(ValueError, match=r"damaged safetensors header.* get it again$"):
            read(tmp_path / "a")


@pytest.mark.parametrize("depth", [200, 950, 200_000])
def test_headers_and_configs_that_are_nested_too_deeply_are_damaged(tmp_path, depth):
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    (tmp_path / "a").write_bytes(len(deep).to_bytes(8, "little") + deep)
    save_file({"a": torch.zeros(1)}, tmp_path / "b", {CONFIG_KEY: deep.decode()})
    for read in (load_model, info):
        with pytest.raises(ValueError, match="damaged safetensors header"):
            read(tmp_path / "a")
        with pytest.raises(ValueError, match=r"damaged trip_config .*nested more than 64 deep"):
            read(tmp_path / "b")


def test_a_name_as_long_as_the_disk_takes_is_written(whole, tmp_path):
    _, config, modules = whole
    parts = {"vae": modules["vae"].state_dict()}
    save_checkpoint(tmp_path / ("a" * 255), config, parts)
    with pytest.raises(OSError, match="is a name of 256 bytes"):
        save_checkpoint(tmp_path / ("a" * 256), config, parts)
    assert [len(p.name) for p in tmp_path.iterdir()] == [255]


def test_a_config_is_read_from_metadata(whole, tmp_path):
    path, config, _ = whole
    assert read_config(path) == json.loads(json.dumps(config))
    assert set(read_header(path).metadata) == {"format", CONFIG_KEY}
    save_file({"a": torch.zeros(1)}, tmp_path / "a", {CONFIG_KEY: "{oops"})
    with pytest.raises(ValueError, match="damaged trip_config"):
        read_config(tmp_path / "a")


def test_fill_module_takes_only_an_exact_fit():
    layer = torch.nn.Linear(2, 3)
    fill_module(layer, {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, "layer")
    assert bool((layer.weight == 1).all())
    with pytest.raises(ValueError, match=r"layer does not fit its config: 'bias' \[3\] is missing"):
        fill_module(layer, {"weight": torch.ones(3, 2)}, "layer")
