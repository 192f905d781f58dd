"""What a leaf says, and the order of leaves: SQL over the ledger's rows.

Invariant: the text of a row is the same under any settings of the server, and says nothing that its tenant may not
know (not what we pay the provider). A scheme's text never changes: another text is another scheme.
"""

from typing import Final


def _quoted(value: str) -> str:
    """The JSON of what has no character that JSON would escape."""
    return f"""'"' || {value} || '"'"""


def _text(value: str) -> str:
    return f"to_json({value})"


# Each fact, in SQL that makes the JSON of its value.
FACTS: Final = {
    "row": _quoted("r.id"),
    "at": _quoted("""to_char(r.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""),
    "tenant": "r.tenant_id",
    "request_id": f"coalesce({_quoted('r.request_id')}, 'null')",
    "kind": _text("r.kind"),
    "corrects": f"coalesce({_quoted('r.corrects_id')}, 'null')",
    "user": _text("r.user_id"),
    "key": "coalesce(r.key_id::text, 'null')",
    **{
        name: _text(f"r.{name}")
        for name in ("feature", "project", "cost_center", "provider", "model", "processing")
    },
    "source": _text("r.usage_source"),
    "certainty": _text("r.certainty"),
    **{f"{name}_tokens": f"r.{name}_tokens" for name in ("input", "cache_read", "cache_write", "output")},
    "list_usd": _quoted("r.list_cost"),
    "billed_usd": _quoted("r.billed_cost"),
}
# As `json_build_object` writes it, at a third of its time.
_PAIRS: Final = ", ', ', ".join(f"""'"{name}" : ', {value}""" for name, value in FACTS.items())
TEXT: Final = f"concat('{{', {_PAIRS}, '}}')"
HASH: Final = f"sha256('\\x00'::bytea || convert_to({TEXT}, 'UTF8'))"
OF_PERIOD: Final = "r.tenant_id = %(tenant)s AND r.period_id = %(period)s"

# The leaves of a period in their order, the hashes of `chunk` of them in one text: bounded, and few rows to fetch. A row is
# hashed before it is sorted, so that what is sorted is small.
CHUNKS: Final = f"""
SELECT min(at), (array_agg(id ORDER BY place) FILTER (WHERE place %% %(chunk)s = 0))[1],
       string_agg(hash, ''::bytea ORDER BY place)
FROM (
    SELECT *, row_number() OVER (ORDER BY at, id) - 1 AS place
    FROM (SELECT r.occurred_at AS at, r.id, {HASH} AS hash FROM billing_usagerecord r WHERE {OF_PERIOD} OFFSET 0) AS hashed
) AS leaves
GROUP BY place / %(chunk)s ORDER BY place / %(chunk)s
"""
# One chunk's hashes: the rows from its first one up to the first of the next.
CHUNK: Final = f"""
SELECT coalesce(string_agg({HASH}, ''::bytea ORDER BY r.occurred_at, r.id), ''::bytea),
       count(*) FILTER (WHERE (r.occurred_at, r.id) < (%(at)s, %(id)s::uuid))
FROM billing_usagerecord r
WHERE {OF_PERIOD} AND r.occurred_at >= %(from_at)s AND r.occurred_at <= %(until_at)s
  AND (r.occurred_at, r.id) >= (%(from_at)s, %(from_id)s::uuid)
  AND (r.occurred_at, r.id) < (%(until_at)s, %(until_id)s::uuid)
"""
# The rows of one request: its attempts' (which carry their moment), their corrections, and what a cache answered.
OF_REQUEST: Final = f"""
WITH attempts AS (
    SELECT id, tenant_id, occurred_at FROM billing_attempt WHERE tenant_id = %(tenant)s AND request_id = %(request)s
), found AS (
    SELECT r.id, r.occurred_at FROM attempts a
    JOIN billing_usagerecord r ON r.id = a.id AND r.occurred_at = a.occurred_at AND r.tenant_id = a.tenant_id
    UNION
    SELECT r.id, r.occurred_at FROM attempts a
    JOIN billing_usagerecord r ON r.attempt_id = a.id AND r.occurred_at = a.occurred_at AND r.tenant_id = a.tenant_id
    WHERE r.kind <> 'usage'
    UNION
    SELECT r.id, r.occurred_at FROM llm_requestlog asked
    JOIN billing_usagerecord r ON r.tenant_id = asked.tenant_id AND r.request_id = asked.request_id
     AND r.occurred_at BETWEEN asked.at - interval '1 second' AND asked.at + interval '1 second'
    WHERE asked.tenant_id = %(tenant)s AND asked.request_id = %(request)s AND r.attempt_id IS NULL
)
SELECT r.id, r.occurred_at, r.period_id, {TEXT}, t.code, t.root, t.row_count, t.chunks
FROM found
JOIN billing_usagerecord r ON r.id = found.id AND r.occurred_at = found.occurred_at AND r.tenant_id = %(tenant)s
JOIN billing_receipttree t ON t.period_id = r.period_id AND t.tenant_id = r.tenant_id
ORDER BY r.occurred_at, r.id
LIMIT %(most)s
"""
