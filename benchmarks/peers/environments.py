"""The environments of the peers, under `.bench`: made the first time, and again when their lock has changed.

Invariant: nothing of them is on the product's path, and the product's environment is not touched.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.load.servers import ROOT
from benchmarks.load.upstream import MissingTool

FOLDER = ROOT / ".bench"
LOCKS = Path(__file__).resolve().parent


def python_environment(name: str) -> Path:
    """The `bin` folder of a virtual environment with what `<name>.txt` locks."""
    lock, folder = LOCKS / f"{name}.txt", FOLDER / name
    if _is_current(folder, lock):
        return folder / "bin"
    print(f"installing {name} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", *install, "-r", str(lock)], check=True)
    _mark(folder, lock)
    return folder / "bin"


def node_environment(name: str) -> Path:
    """The `node_modules` folder with what `<name>/package-lock.json` locks."""
    if not shutil.which("npm"):
        raise MissingTool(f"{name} needs Node.js and npm; on Debian and Ubuntu: apt install nodejs npm")
    lock, folder = LOCKS / name / "package-lock.json", FOLDER / name
    if not _is_current(folder, lock):
        print(f"installing {name} into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(LOCKS / name, folder)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(["npm", "ci", *options], cwd=folder, check=True)
        _mark(folder, lock)
    return folder / "node_modules"


def _is_current(folder: Path, lock: Path) -> bool:
    mark = folder / "installed"
    return mark.exists() and mark.read_text() == _digest(lock)


def _mark(folder: Path, lock: Path) -> None:
    (folder / "installed").write_text(_digest(lock))


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()
