"""Claude Code and Codex as npm installs them, run as a person would run them, in an empty folder.

Invariant: nothing of this machine's user is seen: home, settings and credentials are the run's own; nothing is asked for
but the address that is given.
"""

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).resolve().parent.parent / "clients_node" / "node_modules"
PATIENCE_SECONDS = 120
ARCHITECTURE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
CLAUDE = MODULES / f"@anthropic-ai/claude-code-linux-{ARCHITECTURE}/claude"
CODEX = next(
    iter((MODULES / f"@openai/codex-linux-{ARCHITECTURE}").glob("vendor/*/bin/codex")), Path("codex")
)


@dataclass(frozen=True)
class Run:
    """What one run printed, and how long it took."""

    output: str
    code: int
    seconds: float


def run(command: list[str], *, folder: Path, variables: Mapping[str, str]) -> Run:
    """Run a command to its end in a folder, its home beside it."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    began = time.monotonic()
    finished = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "IS_SANDBOX": "1", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Run(finished.stdout + finished.stderr, finished.returncode, time.monotonic() - began)


def claude(
    prompt: str, *arguments: str, folder: Path, url: str, key: str, model: str, **variables: str
) -> Run:
    """`claude -p`, with every tool allowed."""
    command = [str(CLAUDE), "--model", model, "--dangerously-skip-permissions", *arguments, "-p", prompt]
    settings = {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return run(command, folder=folder, variables={**settings, **variables})


def codex(
    prompt: str,
    *arguments: str,
    folder: Path,
    url: str,
    key: str,
    model: str,
    is_built_in: bool = False,
    settings: str = "",
    **more: str,
) -> Run:
    """`codex exec`, by a provider of its own as docs/clients.md has it, or by the built-in one."""
    home = folder.parent / "home" / ".codex"
    home.mkdir(parents=True, exist_ok=True)
    if is_built_in:
        provider = f'openai_base_url = "{url}/v1"\n'
    else:
        provider = (
            'model_provider = "purser"\n'
            "[model_providers.purser]\n"
            'name = "Purser"\n'
            f'base_url = "{url}/v1"\n'
            'env_key = "PURSER_KEY"\n'
            'wire_api = "responses"\n'
            f"{settings}"
        )
    (home / "config.toml").write_text(f'model = "{model}"\n{provider}')
    command = [str(CODEX), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    variables = {"CODEX_HOME": str(home), "PURSER_KEY": key, "OPENAI_API_KEY": key, "CODEX_API_KEY": key}
    return run([*command, *arguments, prompt], folder=folder, variables={**variables, **more})
