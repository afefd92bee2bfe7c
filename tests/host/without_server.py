"""The host's modules and the pack in a process of the host's own Python, without its server.

For scripts that run as ``python SCRIPT.py PACK FILE`` in the host's folder: importing this first
makes ``comfy`` and ``trip``, the pack, importable, and gives ``FILE``.
"""

import importlib.util
import sys

PACK, FILE = sys.argv[1:3]
sys.argv = ["main.py", "--cpu"]
sys.path[0] = "."

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

spec = importlib.util.spec_from_file_location(
    "trip", f"{PACK}/__init__.py", submodule_search_locations=[PACK]
)
sys.modules["trip"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["trip"])
