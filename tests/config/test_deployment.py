"""The image and the compose file, read as a person would: no engine is needed for that."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IMPORT_EVERYTHING = """
import importlib, pkgutil, django
django.setup()
import config, tenants, billing, caching, llm
for app in (config, tenants, billing, caching, llm):
    for module in pkgutil.walk_packages(app.__path__, f"{app.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy of deploy/ with freshly made secrets."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    subprocess.run(["sh", "make-secrets"], cwd=tmp_path / "deploy", check=True, capture_output=True)
    return tmp_path / "deploy"


def test_it_works(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"prepare", "web", "worker", "beat", "postgres", "redis"}


def test_every_service_tells_its_health(compose: dict[str, Any]) -> None:
    has_its_own = {
        name for name, service in compose["services"].items() if service.get("healthcheck", {}).get("test")
    }
    assert has_its_own == {"worker", "beat", "postgres", "redis"}  # web has the image's, and prepare ends
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_our_services_start_when_the_database_is_prepared(compose: dict[str, Any]) -> None:
    for name in ("web", "worker", "beat"):
        conditions = {
            other: wait["condition"] for other, wait in compose["services"][name]["depends_on"].items()
        }
        assert conditions == {
            "postgres": "service_healthy",
            "redis": "service_healthy",
            "prepare": "service_completed_successfully",
        }


def test_only_prepare_knows_the_owner_of_the_tables(compose: dict[str, Any]) -> None:
    knows = {
        name for name, service in compose["services"].items() if "database_url" in service.get("secrets", [])
    }
    assert knows == {"prepare"}
    logins = {
        name: {
            secret.removesuffix("_database_url")
            for secret in service.get("secrets", [])
            if secret.endswith("_database_url")
        }
        for name, service in compose["services"].items()
    }
    assert (logins["web"], logins["worker"], logins["beat"]) == ({"web", "admin"}, {"web", "worker"}, set())


def test_every_container_has_no_rights_that_it_does_not_need(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(":size=" in folder for folder in service["tmpfs"]), name
        if not service.get("build"):
            assert re.search(r":\d+\.\d+\.\d+-", service["image"]), name


def test_the_stores_are_on_a_network_of_their_own(compose: dict[str, Any]) -> None:
    assert compose["networks"]["back"] == {"internal": True}
    for name, service in compose["services"].items():
        faces_the_world = "front" in service["networks"]
        assert faces_the_world == (name in ("web", "worker")), name
        assert bool(service.get("ports")) == (name == "web"), name
    (port,) = compose["services"]["web"]["ports"]
    assert port.startswith("${BIND:-127.0.0.1}:")


def test_secrets_come_from_files_that_make_secrets_makes(compose: dict[str, Any], deploy: Path) -> None:
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"./deploy/secrets/{name}"}
        assert (deploy / "secrets" / name).stat().st_size > 0
    used = {name for service in compose["services"].values() for name in service.get("secrets", [])}
    assert used == set(compose["secrets"])
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            is_secret = re.search("PASSWORD|SECRET|DATABASE_URL|REDIS_URL", name)
            assert not is_secret or (name.endswith("_FILE") and value.startswith("/run/secrets/")), name


def test_secrets_are_made_once_and_agree(deploy: Path) -> None:
    secrets = deploy / "secrets"
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    subprocess.run(["sh", "make-secrets"], cwd=deploy, check=True, capture_output=True)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert f":{before['postgres_password']}@postgres:" in before["database_url"]
    redis_password = before["redis_conf"].splitlines()[0].removeprefix("requirepass ")
    assert before["redis_url"] == f"redis://:{redis_password}@redis:6379/0"
    assert secrets.stat().st_mode & 0o077 == 0


def test_the_image_runs_as_an_ordinary_user() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert re.findall(r"^USER (\S+)$", stages[-1], flags=re.MULTILINE) == ["purser"]
    assert "--require-hashes" in stages[0]


def test_the_image_has_no_test_provider_and_works_without(tmp_path: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"demo", "llm/sandbox", "tests", "benchmarks"} <= set(ignored)

    def left_out(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(ROOT)
        return [name for name in names if str(inside / name) in ignored or f"**/{name}" in ignored]

    shutil.copytree(ROOT, tmp_path / "app", ignore=left_out, symlinks=True)
    assert not (tmp_path / "app" / "llm" / "sandbox").exists()
    environ = {
        "SECRET_KEY": "build",
        "PURSER_HOME": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    for command in (
        ["-c", IMPORT_EVERYTHING],
        ["manage.py", "check"],
        ["manage.py", "collectstatic", "--noinput"],
    ):
        subprocess.run([sys.executable, *command], cwd=tmp_path / "app", env=environ, check=True)


def test_what_the_image_is_built_with_exists() -> None:
    modules = re.findall(r"python -m ([a-z_.]+)", (ROOT / "Dockerfile").read_text())
    assert len(modules) > 3
    assert all(importlib.util.find_spec(module) for module in modules)


def test_the_compose_command_accepts_the_file() -> None:
    """Where the docker client has compose; elsewhere the reading above must do."""
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        subprocess.run([docker, "compose", "config", "--quiet"], cwd=ROOT, check=True)
