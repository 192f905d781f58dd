"""The facts of the demonstration: its addresses, its keys and the administrator's password.

Invariant: secrets are made once per state folder and kept in files that only their owner may read. `demo.json` exists
only after everything that it names answers.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from config.running.embedded import write_private
from tenants.keys import strings as keys

ADMIN_USERNAME = "admin"


@dataclass(frozen=True, slots=True)
class DemoFacts:
    """The demonstration's secrets and the addresses of one start."""

    base_url: str
    sandbox_url: str
    secrets: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """What demo.yaml and the `prepare` command read."""
        return {**self.secrets, "PURSER_SANDBOX_URL": self.sandbox_url}

    def as_json(self) -> str:
        facts = {
            "base_url": self.base_url,
            "api_key": self.secrets["PURSER_DEMO_KEY"],
            "admin_url": f"{self.base_url}/admin/",
            "admin_username": ADMIN_USERNAME,
            "admin_password": self.secrets["PURSER_ADMIN_PASSWORD"],
            "sandbox_url": self.sandbox_url,
            "sandbox_control_url": f"{self.sandbox_url}/control",
        }
        return json.dumps(facts, indent=2) + "\n"


def kept_secrets(home: Path) -> dict[str, str]:
    """The secrets of this state folder, made the first time."""
    file = home / "demo-secrets.json"
    made = {
        "PURSER_DEMO_KEY": keys.mint().clear,
        "PURSER_DEMO_BOUNDED_KEY": keys.mint().clear,
        "PURSER_SANDBOX_KEY": f"sk-sandbox-{secrets.token_urlsafe(18)}",
        "PURSER_HOOK_SECRET": secrets.token_urlsafe(24),
        "PURSER_ADMIN_PASSWORD": secrets.token_urlsafe(12),
    }
    if file.exists():
        made |= json.loads(file.read_text())
    write_private(file, json.dumps(made, indent=2) + "\n")
    return made


def publish(facts: DemoFacts, home: Path) -> Path:
    """Write `demo.json`, readable by its owner only."""
    file = home / "demo.json"
    write_private(file, facts.as_json())
    return file
