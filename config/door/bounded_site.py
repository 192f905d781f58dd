"""Limits the bodies of requests to the site: Django never waits for a body, and never gets one that is too large.

Invariant: a request without a session cookie may not send more than a login form.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestAborted

from config.door import bodies
from config.door.bodies import BodyTooLarge, BodyTooSlow

LARGEST_FORM_BYTES = 64 * 1024
LARGEST_UPLOAD_BYTES = 24 * 1024 * 1024  # a provider's cost report, and the form around it


class BoundedSite:
    """An ASGI application that reads the request's body before it calls the site."""

    def __init__(self, site: Any) -> None:
        self._site = site

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        has_session = f"{settings.SESSION_COOKIE_NAME}=" in headers.get("cookie", "")
        is_login = scope["path"].startswith("/admin/login")
        largest = LARGEST_UPLOAD_BYTES if has_session and not is_login else LARGEST_FORM_BYTES
        try:
            bodies.check_announced(headers.get("content-length", ""), largest=largest)
            with await bodies.read(receive, largest=largest) as body:
                message = {"type": "http.request", "body": body.read(), "more_body": False}
        except RequestAborted:
            return
        except (BodyTooLarge, BodyTooSlow) as reason:
            await _refuse(413 if isinstance(reason, BodyTooLarge) else 408, str(reason), send)
            await bodies.discard(receive, most=LARGEST_UPLOAD_BYTES, seconds=1.0)
            return
        messages = iter([message])

        async def replay() -> Any:
            return next(messages, None) or await receive()

        await self._site(scope, replay, send)


async def _refuse(status: int, words: str, send: Any) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})
