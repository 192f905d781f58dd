"""Every dependency has a bound and a reason, and the locks have all of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["requirements", "requirements-dev", "requirements-clients"]
LINE = re.compile(r"(?P<name>[a-z0-9-]+)(?P<extras>\[[a-z0-9,-]+\])?(?P<bound>~=|==|<)[0-9][0-9.]* +# \S.*")


def lines(name: str) -> list[str]:
    text = (ROOT / f"{name}.in").read_text()
    return [line for line in text.splitlines() if not line.startswith(("#", "-r "))]


@pytest.mark.parametrize("name", NAMES)
def test_each_line_has_a_bound_and_a_reason(name: str) -> None:
    assert [line for line in lines(name) if not LINE.fullmatch(line)] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_is_locked(name: str) -> None:
    wanted = {LINE.fullmatch(line)["name"] for line in lines(name)}  # type: ignore[index]
    if name == "requirements-dev":
        wanted |= {LINE.fullmatch(line)["name"] for line in lines("requirements")}  # type: ignore[index]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / f"{name}.txt").read_text(), re.M))
    assert wanted - locked == set()
