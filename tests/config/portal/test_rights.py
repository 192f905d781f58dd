"""Every page of the portal opens to the roles that the table of rights says, at the next request: `rights.txt`.

A new page, or a changed right, changes the file: write it with SNAPSHOT=write, and read the difference.
"""

import os
from pathlib import Path
from uuid import UUID

import pytest
from django.test import Client

from config.portal.urls import AT, urlpatterns
from tenants.models import ApiKey, Membership, Tenant
from tests.config.portal.conftest import House

TABLE = Path(__file__).parent / "rights.txt"
ROLES = ("alice", "fay", "bob", "charlie")
PARTS = {
    "<uuid:request_id>": str(UUID(int=0)),
    "<uuid:asked_id>": str(UUID(int=0)),
    "<slug:verb>": "ask",
    "<slug:month>": "9999-01",
    "<str:label>": "9999-01",
    "<slug:format_name>": "csv",
}
PAGES = sorted(str(one.pattern).removeprefix(AT) for one in urlpatterns if str(one.pattern).startswith(AT))


def opened(client: Client, house: House, page: str) -> str:
    """Whether the page is this person's; what it is about does not exist, so it changes nothing."""
    for part, value in PARTS.items():
        page = page.replace(part, value)
    while "<int:" in page:
        before, _, rest = page.partition("<int:")
        page = f"{before}999999999{rest.partition('>')[2]}"
    status = client.get(house.at(page)).status_code
    return {403: "-", 404: "open" if any(part in page for part in ("9999", "0000", "one/")) else "-"}.get(
        status, "open"
    )


def test_it_works(house: House) -> None:
    lines = [f"{'':48}{'owner':12}{'finance':12}{'member':12}{'stranger':12}".rstrip()]
    clients = [house.client(getattr(house, name)) for name in ROLES]
    for page in PAGES:
        cells = [opened(client, house, page) for client in clients[:3]]
        cells.append("-" if clients[3].get(house.at()).status_code == 404 else "open")
        lines.append(f"{page or 'home':48}" + "".join(f"{cell:12}" for cell in cells).rstrip())
    written = "\n".join(lines) + "\n"
    if os.environ.get("SNAPSHOT") == "write":
        TABLE.write_text(written)
    assert written == TABLE.read_text()


def test_finance_follows_a_sum_to_its_requests_and_changes_nothing(house: House) -> None:
    fay = house.client(house.fay)
    assert fay.get(house.at("requests/")).status_code == 200
    for page in ("keys/", "keys/service/", "budgets/new/", "policy/", "people/"):
        assert fay.get(house.at(page)).status_code == 403, page


def test_a_role_that_is_taken_away_is_gone_at_the_next_page(house: House) -> None:
    alice, bob = house.client(house.alice), house.client(house.bob)
    assert alice.get(house.at("policy/")).status_code == 200
    assert bob.get(house.at()).status_code == 200
    Membership.objects.filter(user=house.alice).update(role="member")
    Membership.objects.filter(user=house.bob).delete()
    assert alice.get(house.at("policy/")).status_code == 403
    assert alice.post(house.at("keys/service/"), {"name": "x"}).status_code == 403
    assert bob.get(house.at()).status_code == 404


@pytest.mark.parametrize("status", ["suspended", "closed"])
def test_in_a_suspended_tenant_nothing_is_changed(house: House, status: str) -> None:
    alice, bob = house.client(house.alice), house.client(house.bob)
    assert alice.get(house.at("keys/")).status_code == 200
    Tenant.objects.filter(pk=house.acme.pk).update(status=status)
    page = alice.get(house.at("spend/"))
    assert page.status_code == 200, "what was spent is still read"
    assert f"is {status}" in page.text
    for client, address in (
        (alice, "keys/service/"),
        (alice, "people/invite/"),
        (alice, "budgets/new/"),
    ):
        assert client.post(house.at(address), {"name": "x"}).status_code == 403, address
    for client, address in ((alice, "runs/"), (bob, "keys/new/")):
        asked = client.post(house.at(address), {"label": "x", "days": 3, "run": "r", "usd": "1"}, follow=True)
        assert "nothing was changed" in asked.text
    assert not ApiKey.objects.filter(tenant=house.acme).exists()
