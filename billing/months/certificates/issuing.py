"""Writes the certificate of a month that is being closed.

Invariant: a statement's digest covers the text of its certificate, so neither can be exchanged for another. It is written once,
with the statement (triggers).
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User

from billing.four_eyes import four_eyes_of, name_of
from billing.models import Certificate, CertificateAnnex, Statement
from billing.money import plain
from billing.months.certificates.claims import VERSION, annex_of, claims_of
from billing.months.certificates.reading import read_month


@dataclass(frozen=True, slots=True)
class Draft:
    """A certificate and its annex, word for word."""

    text: str
    annex: str

    @property
    def digest(self) -> str:
        """What the statement's digest covers."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def drafted(statement: Statement, *, closed_by: User | None) -> Draft:
    """The certificate of a statement that is being issued."""
    period, month = statement.period, read_month(statement.period)
    annex = canonical(annex_of(month))
    body = {
        "object": "certificate",
        "version": VERSION,
        "statement": statement.code,
        "tenant": statement.tenant_id,
        "tenant_name": statement.tenant.name,
        "month": period.label,
        "timezone": statement.timezone,
        "issuer": statement.issuer,
        "issued_at": int(statement.issued_at.timestamp() * 1_000_000),
        "rows": statement.record_count,
        "requests": statement.request_count,
        "exact_usd": plain(statement.exact_usd),
        "total": plain(statement.total),
        "currency": statement.currency,
        "certainty": statement.certainty,
        "closed": {
            "four_eyes": four_eyes_of(statement.tenant),
            "asked_by": name_of(period.close_asked_by) if period.close_asked_at else "",
            "confirmed_by": name_of(period.close_confirmed_by) if period.close_confirmed_at else "",
            "closed_by": name_of(closed_by),
            "forced_reason": statement.forced_reason,
        },
        "claims": claims_of(month),
        "annex_sha256": hashlib.sha256(annex.encode()).hexdigest(),
    }
    return Draft(canonical(body), annex)


def store(draft: Draft, statement: Statement) -> None:
    """Keep a certificate, and its annex, with the statement that was stored."""
    Certificate.objects.create(statement=statement, tenant=statement.tenant, text=draft.text)
    CertificateAnnex.objects.create(statement=statement, text=draft.annex)


def as_file(certificate: Certificate) -> dict[str, Any]:
    """The certificate as `verify.py` reads it: what it says, word for word, and the statement whose digest covers it."""
    statement = certificate.statement
    return {
        "object": "certificate",
        "text": certificate.text,
        "statement": statement.code,
        "statement_digest": statement.digest,
        "previous_digest": statement.previous_digest,
    }


def canonical(value: Any) -> str:
    """JSON of which there is one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
