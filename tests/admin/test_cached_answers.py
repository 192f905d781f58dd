"""Cached answers: read only where the tenant's policy allows it, forgotten one by one, purged after their count was told."""

from django.test import Client
from django.urls import reverse

from caching.models import CacheEntry
from tests.admin.office import Office
from tests.admin.pressing import SUBMITTED, press

QUESTION = "How do I top up my card?"


def pages(client: Client, entry: CacheEntry) -> str:
    urls = [
        reverse("admin:caching_cacheentry_changelist"),
        reverse("admin:caching_cacheentry_change", args=(entry.pk,)),
    ]
    return "".join(client.get(url).content.decode() for url in urls)


def test_it_works(office: Office, olga: Client) -> None:
    entry = office.row(CacheEntry)
    assert QUESTION not in pages(olga, entry)
    assert "policy log_prompts is off" in pages(olga, entry)
    office.acme.policy = {"log_prompts": True}
    office.acme.save()
    assert QUESTION in pages(olga, entry)


def test_one_answer_is_forgotten(office: Office, olga: Client) -> None:
    entry = office.row(CacheEntry)
    kept = CacheEntry.objects.exclude(pk=entry.pk).count()
    press(olga, "caching_cacheentry_forget_this", entry.pk)
    assert not CacheEntry.objects.filter(pk=entry.pk).exists()
    assert CacheEntry.objects.count() == kept


def test_finance_and_strangers_forget_nothing(office: Office) -> None:
    entry = office.row(CacheEntry)
    url = reverse("admin:caching_cacheentry_forget_this", args=(entry.pk,))
    for person, status in ((office.fay, 403), (office.charlie, 404)):
        assert office.client(person).post(url, SUBMITTED).status_code == status
    assert CacheEntry.objects.filter(pk=entry.pk).exists()


def test_a_purge_tells_its_count_before_it_takes_anything(office: Office, olga: Client) -> None:
    url = reverse("admin:caching_cacheentry_purge_tenant")
    form = {**SUBMITTED, "tenant": office.acme.pk}
    asked = olga.post(url, form).content.decode()
    assert "This takes 1 cached answer of acme" in asked
    assert 'name="counted" value="1"' in asked
    olga.post(url, {**form, "counted": 7})
    assert CacheEntry.objects.filter(tenant=office.acme).exists(), "another count is asked again"
    olga.post(url, {**form, "counted": 1})
    assert not CacheEntry.objects.filter(tenant=office.acme).exists()
