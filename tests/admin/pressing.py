"""Buttons of the admin's pages, and who pressed them."""

from typing import Any

from django.test import Client
from django.urls import reverse

SUBMITTED = {"_form_submitted": "on"}


def press(client: Client, button: str, *arguments: Any, **answers: Any) -> Any:
    """Press a button of a page: first its dialog opens, then it is answered."""
    url = reverse(f"admin:{button}", args=arguments)
    assert b'id="dialog"' in client.get(url).content
    return client.post(url, {**SUBMITTED, **answers})


def author_of(row: Any) -> tuple[str, str]:
    entry = row.history.first()
    return entry.history_user.username, entry.history_change_reason or ""
