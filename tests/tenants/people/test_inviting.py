"""People come by invitation: with a link that is good for a week and once, and that opens no account of others."""

import re
import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils.timezone import now

from tenants.models import Invitation, Membership, Tenant
from tenants.people import inviting
from tenants.people.inviting import NoInvitation, invite


@pytest.fixture
def owner(tenant: Tenant) -> User:
    user = User.objects.create_user(
        f"alice-{secrets.token_hex(4)}", email=f"alice-{secrets.token_hex(4)}@acme.example"
    )
    Membership.objects.create(user=user, tenant=tenant, role="owner")
    return user


@pytest.fixture
def invited(
    tenant: Tenant, owner: User, mailoutbox: list[Any], django_capture_on_commit_callbacks: Any
) -> Any:
    """Invite somebody, and return the link's path from the mail."""

    def send(email: str = "", **options: Any) -> str:
        address = email or f"dana-{secrets.token_hex(4)}@acme.example"
        with django_capture_on_commit_callbacks(execute=True):
            invite(tenant, email=address, **{"role": "member", "acting_user": owner, **options})
        mail = mailoutbox[-1]
        assert mail.to == [address]
        found = re.search(r"https?://[^/]+(/account/invitation/\S+)", mail.body)
        assert found is not None
        return found[1]

    return send


def test_it_works(tenant: Tenant, invited: Any) -> None:
    link, client = invited("Dana@acme.example".lower(), role="owner", person="dana"), Client()
    assert tenant.name in client.get(link).content.decode()
    assert not Membership.objects.filter(tenant=tenant, person="dana").exists(), "to look accepts nothing"
    answer = client.post(link)
    assert (answer.status_code, answer["location"]) == (302, "/portal/")
    membership = Membership.objects.get(tenant=tenant, person="dana")
    assert (membership.role, membership.user.email) == ("owner", "dana@acme.example")
    assert client.session["_auth_user_id"] == str(membership.user.pk)


def test_a_link_works_once(tenant: Tenant, invited: Any) -> None:
    link = invited()
    assert Client().post(link).status_code == 302
    for again in (Client().get(link), Client().post(link)):
        assert again.status_code == 410
    assert Membership.objects.filter(tenant=tenant, role="member").count() == 1


def test_a_link_is_good_for_a_week(tenant: Tenant, invited: Any) -> None:
    link = invited()
    Invitation.objects.filter(tenant=tenant).update(expires_at=now() - timedelta(seconds=1))
    assert Client().post(link).status_code == 410


def test_an_account_that_exists_gets_a_membership_and_the_link_no_session(
    tenant: Tenant, invited: Any
) -> None:
    user = User.objects.create_user(
        f"bob-{secrets.token_hex(4)}", email=f"bob-{secrets.token_hex(4)}@acme.example", password="x" * 20
    )
    link, client = invited(user.email), Client()
    assert client.post(link)["location"] == "/account/login/"
    assert "_auth_user_id" not in client.session
    assert Membership.objects.get(tenant=tenant, user=user).role == "member"


def test_a_new_link_ends_the_one_before(tenant: Tenant, invited: Any) -> None:
    first, second = invited("dana@acme.example"), invited("dana@acme.example")
    assert Client().post(first).status_code == 410
    assert Client().post(second).status_code == 302


def test_a_withdrawn_link_is_none(tenant: Tenant, owner: User, invited: Any) -> None:
    link = invited()
    inviting.withdraw(Invitation.objects.get(tenant=tenant), acting_user=owner)
    assert Client().get(link).status_code == 410
    with pytest.raises(NoInvitation):
        inviting.accept(link.rsplit("/", 2)[1])


def test_nobody_guesses_a_link(tenant: Tenant, invited: Any) -> None:
    link = invited()
    token = link.rsplit("/", 2)[1]
    assert len(token) >= 40
    assert Client().get(f"/account/invitation/{token[:-1]}x/").status_code == 410
    assert Client().get(f"/account/invitation/{'x' * 5000}/").status_code == 410
    assert token not in str(list(Invitation.objects.filter(tenant=tenant).values()))


def test_an_invitation_lowers_no_owner(tenant: Tenant, owner: User, invited: Any) -> None:
    Client().post(invited(owner.email, role="member"))
    assert Membership.objects.get(tenant=tenant, user=owner).role == "owner"


def test_a_user_id_belongs_to_one_person(tenant: Tenant, owner: User, invited: Any) -> None:
    Client().post(invited(person="dana"))
    with pytest.raises(ValidationError):
        invite(tenant, email="other@acme.example", role="member", person="dana", acting_user=owner)


def test_open_invitations_are_bounded(tenant: Tenant, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inviting, "MOST_OPEN", 2)
    for number in range(2):
        invite(tenant, email=f"p{number}@acme.example", role="member", acting_user=owner)
    with pytest.raises(ValidationError, match="withdraw some"):
        invite(tenant, email="p3@acme.example", role="member", acting_user=owner)
