"""A real ComfyUI in a process of its own, on a free port, with a temporary base directory.

Hosts are looked for where ``COMFYUI_PATH`` says (several, separated as in ``PATH``, run the tests
one after another), else in ``~/comfy/ComfyUI``; each runs with the Python of its own ``.venv``
where it has one. Without a host these tests are skipped.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.tiny import save_tiny

PACK = Path(__file__).parents[2]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.host)
            item.add_marker(pytest.mark.slow)


def find_hosts() -> list[Path]:
    """Return the hosts' folders."""
    places = os.environ.get("COMFYUI_PATH") or str(Path.home() / "comfy" / "ComfyUI")
    found = map(Path, places.split(os.pathsep))
    return [place for place in found if (place / "main.py").is_file()]


def version(folder: Path) -> str:
    """Return what version a host says it is."""
    text = (folder / "comfyui_version.py").read_text()
    return text.split("__version__")[1].split('"')[1]


def python_of(folder: Path) -> str:
    """Return the Python that a host runs with."""
    own = folder / ".venv" / "bin" / "python"
    return str(own if own.exists() else sys.executable)


def run_without_server(folder: Path, script: str, file: Path) -> str:
    """Run a script of this folder by a host's Python (see ``without_server.py``); return its words.

    Args:
        folder: The host's.
        script: Name of the script.
        file: What it reads or writes.
    """
    ended = subprocess.run(
        [python_of(folder), str(Path(__file__).with_name(script)), str(PACK), str(file)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def prepare(base: Path) -> None:
    """Make a base directory with the pack in it."""
    for folder in ("custom_nodes", "models/trip", "input", "output", "temp", "user"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / "trip").symlink_to(PACK)


class Host:
    """A running ComfyUI."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.base = base
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = base / "host.log"
        command = [python_of(folder), "main.py", "--cpu"]
        command += ["--base-directory", str(base), "--port", str(self.port)]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", "trip"]
        command += ["tiny_vision", "host_nodes"]
        command += ["--preview-size", "256"]  # the method is the host's default: none
        command += ["--database-url", f"sqlite:///{base / 'db.sqlite'}"]
        with open(self.log, "w") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            environment.pop("PYTHONPATH", None)
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def wait(self, seconds: float = 240) -> None:
        """Return when it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.5)
        pytest.fail(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def __enter__(self):
        """Wait until it answers."""
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)

    def get(self, path: str):
        """Return the JSON at a path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, content: dict):
        """Send JSON; return (status, answer)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                body = answer.read()
                return answer.status, json.loads(body) if body else {}
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def queue(self, graph: dict) -> str:
        """Queue a graph in API format; return its id."""
        status, answer = self.post("/prompt", {"prompt": graph, "client_id": "tests"})
        assert status == 200, answer
        return answer["prompt_id"]

    def finish(self, ident: str, seconds: float = 600) -> dict:
        """Return the history of a queued graph, when it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{ident}")
            if ident in history:
                return history[ident]
            time.sleep(0.2)
        pytest.fail(f"the graph did not end:\n{self.log.read_text()[-2000:]}")

    def run(self, graph: dict) -> dict:
        """Run a graph; return its history, its error as a sentence if it failed."""
        return self.finish(self.queue(graph))

    def outputs(self, graph: dict) -> dict:
        """Run a graph that must succeed; return its outputs by node."""
        history = self.run(graph)
        assert history["status"]["status_str"] == "success", error_of(history)
        return history["outputs"]

    def view(self, entry: dict) -> bytes:
        """Return a shown file as the page fetches it."""
        address = f"http://127.0.0.1:{self.port}/view?{urllib.parse.urlencode(entry)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.read()

    def path(self, entry: dict) -> Path:
        """Return where a shown file lies."""
        return self.base / entry["type"] / entry["subfolder"] / entry["filename"]


def error_of(history: dict) -> str:
    """Return a failed run's message."""
    for kind, content in history["status"]["messages"]:
        if kind == "execution_error":
            return content["exception_message"].strip()
    return ""


@pytest.fixture(scope="session", params=find_hosts() or [None], ids=lambda at: at and version(at))
def host_folder(request):
    """Each host's folder in turn."""
    if request.param is None:
        pytest.skip("no ComfyUI: set COMFYUI_PATH to a checkout whose .venv has its requirements")
    return request.param


@pytest.fixture(scope="session")
def base(tmp_path_factory, host_folder):
    """A base directory with the pack, two tiny models and a still."""
    base = tmp_path_factory.mktemp(version(host_folder))
    prepare(base)
    (base / "custom_nodes" / "tiny_vision").symlink_to(Path(__file__).parent / "tiny_vision")
    save_tiny(base / "models" / "trip" / "tiny.safetensors")
    save_tiny(base / "models" / "trip" / "tiny_paper.safetensors", motion=False)
    (base / "models" / "trip" / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    generator = torch.Generator().manual_seed(0)
    picture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 6, 8, generator=generator), (95, 129), mode="bicubic"
    )[0].clamp(0, 1)
    pixels = (picture * 255).round().to(torch.uint8).movedim(0, -1).numpy()
    Image.fromarray(pixels).save(base / "input" / "still.png")
    return base


@pytest.fixture(scope="session")
def comfy(base, host_folder):
    """A host that has started."""
    with Host(host_folder, base) as host:
        yield host
