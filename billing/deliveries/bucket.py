"""Puts files into S3-compatible storage: signed by Amazon's library (SigV4), sent by our own guarded client.

Invariant: a connection leads only to an address that is public or that the operator allowed (`config.egress`); redirects are not
followed. Only the schedule's own keys sign, never the machine's. A signed address is in no message and no log.
"""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from django.conf import settings

from billing.deliveries.parcels import Parcel
from config import egress
from tenants import contents

SIGNED_FOR_SECONDS: Final = 900
CONNECT_SECONDS: Final = 10
SILENT_SECONDS: Final = 60
MOST_READ: Final = 4096
DEFAULT_REGION: Final = "us-east-1"
CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")


class StorageRefused(Exception):
    """The storage did not take a file; the message is fit to be shown."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, where it is, and what opens it."""

    name: str
    endpoint: str  # empty: Amazon's own
    region: str
    access_key: str
    secret_key: str

    def signed(self, key: str, *, content_type: str) -> str:
        """An address under which one object can be put for a while. Asks nobody for anything."""
        session = boto3.Session(
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region or DEFAULT_REGION,
        )
        style = "path" if self.endpoint else "virtual"
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": style},
            request_checksum_calculation="when_required",
            ignore_configured_endpoint_urls=True,
        )
        client = session.client("s3", endpoint_url=self.endpoint or None, config=config)
        asked = {"Bucket": self.name, "Key": key, "ContentType": content_type}
        address: str = client.generate_presigned_url("put_object", Params=asked, ExpiresIn=SIGNED_FOR_SECONDS)
        return address


def open_session() -> aiohttp.ClientSession:
    """A session whose connections can only reach allowed addresses."""
    return aiohttp.ClientSession(
        connector=egress.guarded_connector(may_be_private=settings.WEBHOOKS_MAY_BE_PRIVATE, limit=20),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
        ),  # of all files together: the outbox's own limit
        trust_env=False,
    )


async def put(
    session: aiohttp.ClientSession, bucket: Bucket, parcels: Sequence[Parcel], *, folders: Sequence[str]
) -> str:
    """Put files under a prefix, one after the other, and answer where. Raises StorageRefused."""
    prefix = "/".join(folders)
    for parcel in parcels:
        await _put(session, bucket, f"{prefix}/{parcel.name}", parcel)
    return f"s3://{bucket.name}/{quote(prefix)}"


async def _put(session: aiohttp.ClientSession, bucket: Bucket, key: str, parcel: Parcel) -> None:
    try:
        address = bucket.signed(key, content_type=parcel.content_type)
    except (BotoCoreError, ValueError) as error:
        raise StorageRefused(f"no address can be made: {type(error).__name__}") from None
    headers = {"content-type": parcel.content_type, "content-length": str(parcel.size)}
    try:
        egress.check_url(address, may_be_private=settings.WEBHOOKS_MAY_BE_PRIVATE)
        opened = await contents.in_thread(parcel.opened)
        with closing(opened):
            async with session.put(
                address, data=contents.stream(opened), headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise StorageRefused(await _why(response))
    except TimeoutError:
        raise StorageRefused(f"no answer within {SILENT_SECONDS} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise StorageRefused(_innermost(error)) from None


async def _why(response: Any) -> str:
    """The status, and the code that S3 gives for it: nothing else of what a stranger's server says."""
    said = await response.content.read(MOST_READ)
    code = CODE.search(said.decode("utf-8", "replace"))
    return f"the storage answered {response.status}" + (f" {code[1]}" if code else "")


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, aiohttp.InvalidURL):
        return "the address is none"
    return str(error) or type(error).__name__
