"""One file that does everything the Makefile offers, with Python alone.

    python scripts/run.py demo      animate three bundled stills, into output/
    python scripts/run.py test      run the tests, in two processes
    python scripts/run.py lint      ruff: mistakes and manners
    python scripts/run.py format    ruff: is everything formatted?
    python scripts/run.py types     pyright
    python scripts/run.py check     lint, format, types and test: what CI runs
    python scripts/run.py validate  comfy-cli: would the Comfy Registry take the pack?

The first command makes ``.venv`` beside this repository and installs into it what
``constraints.txt`` names; later ones find it there. Set ``TRIP_PYTHON`` to another Python to use
that environment as it is, and nothing is installed.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 10)
#: In an environment of its own: it brings fifty packages that the pack must run without.
COMFY_CLI, COMFY_CLI_VENV = "comfy-cli==1.23.0", ROOT / ".venv-comfy-cli"

#: What each command needs of pyproject.toml's optional groups, over requirements.txt.
GROUPS = {
    "demo": (),
    "test": ("training", "evaluation", "test"),
    "lint": ("training", "evaluation", "test"),
    "format": ("training", "evaluation", "test"),
    "types": ("training", "evaluation", "test"),
}
#: What each command runs, after "python".
STEPS = {
    "demo": ["scripts/demo.py"],
    "test": ["-m", "pytest", "tests", "-q", "-n", "2", "--dist", "loadfile"],
    "lint": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
    "types": ["-m", "pyright"],
    "validate": ["-m", "comfy_cli", "--skip-prompt", "node", "validate"],
}
CHECK = ("lint", "format", "types", "test")


def main() -> int:
    """Run the command that the words ask for and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=[*STEPS, "check"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="handed on to the tool")
    options = parser.parse_args()
    steps = CHECK if options.command == "check" else (options.command,)
    started = time.perf_counter()
    failed = []
    try:
        for step in steps:  # all of them, so that one run shows everything that is wrong
            python = comfy_cli() if step == "validate" else environment(GROUPS[step])
            if run([str(python), *STEPS[step], *options.rest]) != 0:
                failed.append(step)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    elif options.command == "check":
        print(f"check: all passed in {time.perf_counter() - started:.0f} s")
    return 1 if failed else 0


class SetupError(Exception):
    """The environment could not be made; the message says what to do."""


def environment(groups: tuple[str, ...]) -> Path:
    """Return the Python of an environment that has requirements.txt and these groups."""
    given = os.environ.get("TRIP_PYTHON")
    if given:
        return Path(given)
    python = python_of(VENV)
    wanted = fingerprint()
    for stamp in VENV.glob("installed-*"):
        if set(groups) <= set(stamp.name.split("-")) and stamp.read_text() == wanted:
            return python
    print(f"installing into {VENV} (the first time only; a few minutes)", flush=True)
    started = time.perf_counter()
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    command = [str(python), "-m", "pip", "install", "--no-input", "--quiet", *constraints]
    if run([*command, *requirements(python, groups)]) != 0:
        raise SetupError("pip could not install; its own message is above")
    (VENV / "-".join(("installed", *groups, "run"))).write_text(wanted)
    print(f"installed in {time.perf_counter() - started:.0f} s", flush=True)
    return python


def comfy_cli() -> Path:
    """Return the Python of an environment that has comfy-cli and nothing else."""
    python = python_of(COMFY_CLI_VENV)
    done = COMFY_CLI_VENV / f"installed-{COMFY_CLI}"
    if not done.exists():
        if run([str(python), "-m", "pip", "install", "--no-input", "--quiet", COMFY_CLI]) != 0:
            raise SetupError("pip could not install comfy-cli; its own message is above")
        done.touch()
    os.environ["DO_NOT_TRACK"] = "1"
    return python


def python_of(venv: Path) -> Path:
    """Return the Python of an environment; where it is missing, make it with this file's own."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists():
        return python
    if sys.version_info < OLDEST:
        raise SetupError(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; this is "
            f"{sys.version.split()[0]}: run this file with a newer one"
        )
    if run([sys.executable, "-m", "venv", str(venv)]) != 0:
        raise SetupError(
            f"Python could not make {venv.name}; on Debian and Ubuntu: apt install python3-venv"
        )
    return python


def requirements(python: Path, groups: tuple[str, ...]) -> list[str]:
    """Return what pip is asked for: requirements.txt and the groups of pyproject.toml."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    # A machine without a screen has no libGL, which opencv-python needs; the headless build is
    # the same library. (ComfyUI users keep whichever they have.)
    wanted = [line.replace("opencv-python>", "opencv-python-headless>") for line in wanted]
    if groups:
        wanted += optional(python, groups)
    return wanted


def optional(python: Path, groups: tuple[str, ...]) -> list[str]:
    """Read groups of pyproject.toml; pip carries a TOML reader for Pythons that have none."""
    code = (
        "import json, sys\n"
        "try: import tomllib\n"
        "except ModuleNotFoundError: from pip._vendor import tomli as tomllib\n"
        "project = tomllib.load(open(sys.argv[1], 'rb'))['project']\n"
        "print(json.dumps(project['optional-dependencies']))\n"
    )
    words = [str(python), "-c", code, str(ROOT / "pyproject.toml")]
    table = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return [line for group in groups for line in table[group]]


def fingerprint() -> str:
    """Return what an installation depends on, so that a change of it installs anew."""
    digest = hashlib.sha256()
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def run(words: list[str]) -> int:
    """Run a program in the repository, without input; return its exit code."""
    return subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
