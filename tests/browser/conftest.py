"""Patience of the browser tests: the machine may be busy."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _what_is_expected_may_take_a_while() -> None:
    try:
        from playwright.sync_api import expect
    except ImportError:  # those who have no browser skip the tests
        return
    expect.set_options(timeout=90_000)
