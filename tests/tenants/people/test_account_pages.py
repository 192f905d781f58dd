"""The pages of signing in and of one's account: each can be rendered, also those that few people ever see."""

from pathlib import Path

import allauth
import pytest
from django.template.loader import get_template

TEMPLATES = Path(allauth.__file__).parent / "templates"
ROOMS = ("account", "mfa", "socialaccount", "usersessions", "allauth")


def test_it_works() -> None:
    """Ours stands before the library's where there is one."""
    assert "site-packages" not in get_template("account/login.html").origin.name


@pytest.mark.parametrize("room", ROOMS)
def test_every_template_has_the_tags_that_it_asks_for(room: str) -> None:
    names = [str(file.relative_to(TEMPLATES)) for file in sorted((TEMPLATES / room).rglob("*.html"))]
    assert names
    for name in names:
        get_template(name)
