"""The import law: arrows point down only, and the core needs neither host nor heavy libraries."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "trip_core"

#: The floors of the house, lowest first; a module may import from its own floor and below.
FLOORS = (
    ("schedule", "prediction", "prior", "tables", "targets"),
    (
        "nn",
        "clip_pixels",
        "tensor_files",
        "sizes",
        "stills",
        "contact_sheet",
        "planes",
        "sound",
        "formats",
        "codecs",
        "containers",
        "picture_files",
        "video_io",
    ),
    ("fusion", "guidance", "sampling", "solvers", "compose", "plate", "anchor", "intent"),
    ("systems",),
    ("pipeline", "pipeline_dreamvideo", "pipeline_dynamicrafter"),
    (
        "checkpoint",
        "convert",
        "diffusers_folder",
        "dreamvideo_file",
        "dynamicrafter_file",
        "dynamicrafter_folder",
        "dynamicrafter_names",
        "models",
        "openclip",
        "trip_file",
    ),
    ("data", "training", "metrics"),
    (
        "evaluate",
        "bench",
        "bench_networks",
        "cli",
        "cli_animate",
        "cli_device",
        "cli_options",
        "cli_process",
        "cli_report",
        "cli_train",
        "allocator",
        "__main__",
    ),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
HOST = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "server", "node_helpers", "execution"}
#: Installed where they are best used, never needed to import the core.
HEAVY = ("diffusers", "cv2", "transformers", "accelerate", "skimage", "tensorboard")


def modules():
    return sorted(p for p in CORE.rglob("*.py") if "__pycache__" not in p.parts)


def imports(path):
    """Yield (level, dotted name, line) of every import statement, lazy ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.level, node.module, node.lineno
            else:  # from . import name
                yield from ((node.level, alias.name, node.lineno) for alias in node.names)


def core_target(path, level, name):
    """The parts below trip_core of what a relative import names."""
    package = path.relative_to(CORE).parts[:-1]
    return (*package[: len(package) - (level - 1)], *name.split("."))


def test_every_module_of_the_core_has_a_floor():
    tops = {p.relative_to(CORE).parts[0].removesuffix(".py") for p in modules()} - {"__init__"}
    assert tops <= set(FLOOR), f"give these a floor in FLOORS: {sorted(tops - set(FLOOR))}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(CORE)))
def test_arrows_point_down_only(path):
    source = path.relative_to(CORE).parts[0].removesuffix(".py")
    for level, name, line in imports(path):
        where = f"{path.relative_to(ROOT)}:{line}"
        if level == 0:
            assert name.split(".")[0] != "trip_core", f"{where}: import the core relatively"
            continue
        parts = core_target(path, level, name)
        target = parts[0]
        if source == "__init__" or target not in FLOOR:
            continue
        assert FLOOR[target] <= FLOOR[source], f"{where}: {source} must not know {target}"


def test_systems_never_import_each_other():
    for path in (CORE / "systems").glob("*.py"):
        if path.name == "__init__.py":
            continue
        for level, name, line in imports(path):
            parts = core_target(path, level, name) if level else ()
            assert parts[:1] != ("systems",), f"{path.name}:{line} imports {'.'.join(parts)}"


@pytest.mark.parametrize("name", FLOORS[0])
def test_the_lowest_floor_knows_torch_alone(name):
    for level, module, line in imports(CORE / f"{name}.py"):
        top = module.split(".")[0]
        allowed = level > 0 or top == "torch" or top in sys.stdlib_module_names
        assert allowed, f"{name}.py:{line} imports {module}"


def test_comfyui_is_imported_in_nodes_alone():
    folders = [CORE, ROOT / "tests" / "core", ROOT / "scripts", ROOT / "benchmarks"]
    paths = [ROOT / "__init__.py", *(p for folder in folders for p in folder.rglob("*.py"))]
    for path in paths:
        for level, name, line in imports(path):
            assert level or name.split(".")[0] not in HOST, f"{path.name}:{line} imports {name}"


def python(code, *words):
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_core_imports_without_the_heavy_libraries():
    code = (
        "import sys\n"
        "for name in sys.argv[1:]: sys.modules[name] = None\n"
        "import trip_core, trip_core.models\n"
    )
    done = python(code, *HEAVY)
    assert done.returncode == 0, done.stderr


def test_the_pack_imports_without_comfyui():
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('a path_x_to/the pack', '__init__.py',\n"
        "    submodule_search_locations=['.'])\n"
        "pack = importlib.util.module_from_spec(spec)\n"
        "sys.modules[spec.name] = pack\n"
        "spec.loader.exec_module(pack)\n"
        "assert isinstance(pack.NODE_CLASS_MAPPINGS, dict)\n"
        "assert set(pack.NODE_CLASS_MAPPINGS) == set(pack.NODE_DISPLAY_NAME_MAPPINGS)\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_requirements_are_the_project_s_dependencies():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert wanted == project["dependencies"]
    assert all(">=" in line and "<" not in line for line in wanted), "lower bounds only"


def test_every_requirement_has_a_tested_version():
    def name(line):
        return line.split(";")[0].split("=")[0].split(">")[0].split("[")[0].strip().lower()

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {name(line) for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {name(line) for group in groups for line in group if "python_version" not in line}
    assert wanted <= tested, f"constraints.txt lacks {sorted(wanted - tested)}"
