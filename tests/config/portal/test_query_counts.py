"""The number of queries of every page of the portal, as it was when it was last looked at. More is a regression.

`SNAPSHOT=write make test ARGS=tests/config/portal/test_query_counts.py` writes it anew.
"""

import json
import os
from pathlib import Path

from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.config.portal.conftest import House
from tests.config.portal.test_walls import addresses, rows_of

SNAPSHOT = Path(__file__).with_name("query_counts.json")


def counted(client: Client, pages: dict[str, str]) -> dict[str, int]:
    """The queries of each page that is shown."""
    counts = {}
    for name, address in pages.items():
        client.get(address)
        ContentType.objects.clear_cache()
        with CaptureQueriesContext(connection) as queries:
            status = client.get(address).status_code
        if status == 200:
            counts[name] = len(queries)
    return counts


def test_it_works(house: House) -> None:
    pages = addresses(house.acme.slug, rows_of(house, house.acme, "alice"))
    counts = counted(house.client(house.alice), pages)
    if os.environ.get("SNAPSHOT") == "write":
        SNAPSHOT.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    known = json.loads(SNAPSHOT.read_text())
    assert {page: count for page, count in counts.items() if count > known.get(page, 0)} == {}
