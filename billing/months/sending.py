"""Answers with a stored file of a month, a piece at a time.

Invariant: bytes go out as they are stored, and a file that is lost is an error before the first of them.
"""

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from billing.models import StatementFile
from tenants import contents


def sent(file: StatementFile) -> HttpResponseBase:
    """A file of a closed month as a download. Raises ContentMissing."""
    if file.content is not None:
        return named(HttpResponse(bytes(file.content), content_type=file.content_type), file.name)
    return sent_content(
        file.statement.tenant_id,
        file.location,
        name=file.name,
        content_type=file.content_type,
        size=file.size_bytes or 0,
    )


def sent_content(
    tenant_id: int, location: str, *, name: str, content_type: str, size: int
) -> HttpResponseBase:
    """A content of the storage as a download. Raises ContentMissing."""
    pieces = contents.stream(contents.opened_now(tenant_id, location))
    response = named(StreamingHttpResponse(pieces, content_type=content_type), name)
    response["Content-Length"] = str(size)
    return response


def named(response: HttpResponseBase, name: str) -> HttpResponseBase:
    """The response as a download of this name, which nobody keeps."""
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name)
    response["Cache-Control"] = "no-store"
    return response
