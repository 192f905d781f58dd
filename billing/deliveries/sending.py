"""Sends deliveries: to storages at the same time, e-mails and folders one by one.

Invariant: an outcome for each of them, and no exception: what a receiver does wrong is the outcome's text. None takes longer than
LONGEST.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from smtplib import SMTPException
from typing import Final

import aiohttp
from django.core.exceptions import ValidationError

from billing.deliveries import bucket, folder, mail
from billing.deliveries.parcels import Parcel
from billing.deliveries.schedules import bucket_of, segments_of
from billing.models import ReportDelivery, ReportSchedule
from tenants.contents import ContentMissing
from tenants.secrets import SecretUnreadable

LONGEST: Final = 900.0  # seconds
PLATFORM: Final = "all-tenants"
Kind = ReportSchedule.Kind
Letter = tuple[ReportDelivery, list[Parcel]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a delivery arrived, or what was wrong."""

    place: str = ""
    problem: str = ""

    @property
    def has_arrived(self) -> bool:
        return not self.problem


def send_all(letters: Sequence[Letter]) -> list[Outcome]:
    """Send deliveries with their files; what came of each, in their order."""
    outcomes: list[Outcome | None] = [None] * len(letters)
    posted: dict[int, tuple[bucket.Bucket, list[str], list[Parcel]]] = {}
    for number, (delivery, parcels) in enumerate(letters):
        if delivery.schedule.kind != Kind.S3:
            outcomes[number] = _send(delivery, parcels)
            continue
        try:
            posted[number] = (*_storage_of(delivery), parcels)
        except (ValidationError, SecretUnreadable) as error:
            outcomes[number] = Outcome(problem=_words(error))
    if posted:
        answers = asyncio.run(_post_all(list(posted.values())))
        for number, answer in zip(posted, answers, strict=True):
            outcomes[number] = answer
    return [outcome for outcome in outcomes if outcome is not None]


def _storage_of(delivery: ReportDelivery) -> tuple[bucket.Bucket, list[str]]:
    schedule = delivery.schedule
    name, prefix = bucket_of(schedule)
    place = bucket.Bucket(name, schedule.endpoint, schedule.region, schedule.access_key, schedule.secret_key)
    return place, [*prefix, *folders_of(delivery)]


def folders_of(delivery: ReportDelivery) -> list[str]:
    """The folders of a delivery's files below its target: whose, and of which occasion. The same each time that it is tried."""
    return [delivery.tenant.slug if delivery.tenant else PLATFORM, delivery.month, delivery.occasion]


def _send(delivery: ReportDelivery, parcels: Sequence[Parcel]) -> Outcome:
    schedule = delivery.schedule
    try:
        if schedule.kind == Kind.EMAIL:
            return Outcome(mail.send(delivery, parcels))
        path = [*segments_of(schedule.target), *folders_of(delivery)]
        return Outcome(folder.put(parcels, folders=path))
    except (OSError, SMTPException, ContentMissing, ValidationError) as error:
        return Outcome(problem=_words(error))


async def _post_all(posted: Sequence[tuple[bucket.Bucket, list[str], list[Parcel]]]) -> list[Outcome]:
    async with bucket.open_session() as session:
        return list(await asyncio.gather(*(_post(session, *one) for one in posted)))


async def _post(
    session: aiohttp.ClientSession, place: bucket.Bucket, folders: list[str], parcels: Sequence[Parcel]
) -> Outcome:
    try:
        async with asyncio.timeout(LONGEST):
            return Outcome(await bucket.put(session, place, parcels, folders=folders))
    except TimeoutError:
        return Outcome(problem=f"not done within {LONGEST:.0f} s")
    except (bucket.StorageRefused, ContentMissing) as error:
        return Outcome(problem=_words(error))


def _words(error: Exception) -> str:
    if isinstance(error, ContentMissing):
        return "a file is missing in the storage of files"
    if isinstance(error, ValidationError):
        return " ".join(error.messages)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which is this machine's
    return str(error) or type(error).__name__
