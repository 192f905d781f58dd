"""Identifies callers for the gateway's door, and writes its refusals.

Invariant: the caller is identified from the head of the request alone; a refusal at the door leaves the same row of the log, in
the same envelope, as one in the pipeline.
"""

from datetime import UTC, datetime

from django.http import HttpResponse

from config import resources
from config.door.bodies import BodyTooLarge, BodyTooSlow
from config.door.call_queue import TurnedAway
from config.door.encodings import BadlyEncoded, UnknownEncoding
from config.door.gateway import NoWebsockets
from config.door.requests import GatewayRequest
from llm.calls import refusals
from llm.catalog.loading import snapshots
from llm.errors import (
    BodyTimeout,
    GatewayBusy,
    InvalidRequest,
    RequestTooLarge,
    UnsupportedEncoding,
    UpgradeRequired,
)
from llm.views.base import (
    as_outcome,
    client_ip_of,
    error_response,
    identify_caller,
    new_request_id,
    with_request_id,
)
from tenants.errors import ClientError
from tenants.keys.authentication import credentials_of, recall


def recognises(request: GatewayRequest) -> bool:
    """Whether this process knows the key, and that it is good; no I/O."""
    request.caller = recall(
        credentials_of(request.headers), client_ip=client_ip_of(request), snapshots=snapshots
    )
    return request.caller is not None


async def identify(request: GatewayRequest) -> None:
    """Look the key up; raises the 401 and 403 outcomes, or that the look-up is not possible."""
    request.caller = await identify_caller(request)


async def refuse(request: GatewayRequest, reason: Exception) -> HttpResponse:
    """The answer to a call that ends at the door, and its row in the log."""
    error = _outcome_of(reason)
    request_id = new_request_id()
    if isinstance(error, UpgradeRequired):  # no tenant's call yet
        return error_response(error, request, request_id=request_id)
    if request.caller is not None:
        principal, _ = request.caller
        error.tenant_id, error.key_id = principal.tenant_id, principal.key_id
    work = refusals.log(
        error,
        request_id=request_id,
        at=datetime.now(UTC),
        endpoint=request.path,
        tenant_id=error.tenant_id,
        key_id=error.key_id,
    )
    resources.background(work)
    return with_request_id(error_response(error, request, request_id=request_id), request, request_id)


def _outcome_of(reason: Exception) -> ClientError:
    if isinstance(reason, BodyTooLarge):
        return RequestTooLarge(f"The body is larger than {reason.largest} bytes.")
    if isinstance(reason, BodyTooSlow):
        return BodyTimeout(str(reason))
    if isinstance(reason, NoWebsockets):
        return UpgradeRequired("There are no websockets here: send a POST.")
    if isinstance(reason, UnknownEncoding):
        return UnsupportedEncoding(str(reason), param="content-encoding")
    if isinstance(reason, BadlyEncoded):
        return InvalidRequest(str(reason), param="content-encoding")
    if isinstance(reason, TurnedAway):
        seconds = reason.retry_after_seconds
        return GatewayBusy(
            f"The gateway has {reason.inside:,} calls under way and {reason.waiting:,} in line; "
            f"try again in {seconds} s.",
            retry_after_seconds=seconds,
            facts={"line": reason.reason, "inside": reason.inside, "waiting": reason.waiting},
        )
    return as_outcome(reason)
