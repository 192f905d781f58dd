"""Where a person goes after signing in.

Invariant: staff go to the admin, other people to the portal, and nobody is sent to a page that sends them back.
"""

from typing import Any, Final
from urllib.parse import urlsplit

from django.urls import reverse

PORTAL: Final = "/portal/"


def place_of(user: Any, wanted: str = "") -> str:
    """The wanted address if this person may open it, else their home."""
    admin = reverse("admin:index")
    if wanted and (user.is_staff or not urlsplit(wanted).path.startswith(admin)):
        return wanted
    return admin if user.is_staff else PORTAL
