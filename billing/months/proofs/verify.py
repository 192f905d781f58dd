"""Check a receipt, or a certificate, against a statement, without us: `python verify.py receipt.json statement.json ...`.

This file needs Python's standard library and nothing of ours, so that an auditor can read all of it. It checks that

1. each statement's digest is the sha256 of its facts and of the digest of the statement before it;
2. each ledger row that the receipt shows is a leaf of the tree whose root and size the statement's facts name;
3. no row is shown twice, and each is of the receipt's request;
4. of a certificate (`python verify.py certificate.json statement.json [annex.json]`): its text is the one whose digest is among
   the statement's facts; it says the same of the month as they do; its groups make its sums, and these the month's; each share is
   one of its amounts, never rounded up; and nothing is claimed of days without a report.

What it cannot know is whether the statement is the one that was issued: compare the printed digest with the one that
you were given when the month was closed, or with `previous_digest` of the month after it.

The tree is the one of RFC 6962, section 2.1: sha256, a byte 0 before a leaf and a byte 1 before two nodes, split at the
largest power of two below the size. So no leaf passes for a node, and no row can be counted twice.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

SCHEME = "purser-receipts-1"
MOST_BYTES = 16 * 1024 * 1024
MOST_ROWS = 10_000
MOST_PLACES = 40
HASH_BYTES = 32
_SHARE = Decimal("0.000001")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


class NotProven(Exception):
    """What does not fit, in words."""


def leaf(text: str) -> bytes:
    """The hash of a row, by its text."""
    return hashlib.sha256(b"\x00" + text.encode()).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbours."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves, or of whole subtrees of one size, in their order. At least one."""
    level = list(hashes)
    while len(level) > 1:
        # a last one without a neighbour goes up as it is: this is RFC 6962's split at the largest power of two
        pairs = [node(level[place], level[place + 1]) for place in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0]


def path_of(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The neighbours on the way from one of the hashes up to their root, the nearest first."""
    level, path = list(hashes), []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        pairs = [node(level[place], level[place + 1]) for place in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) - len(level) % 2 :]
        index //= 2
    return path


def root_by(found: bytes, *, index: int, size: int, path: Iterable[bytes]) -> bytes:
    """The root that a path leads to from a leaf. Raises NotProven for a path of the wrong length."""
    neighbours, last = list(path), size - 1
    for neighbour in neighbours:
        if last == 0:
            raise NotProven("the path is longer than the tree is high")
        if index % 2 or index == last:
            found = node(neighbour, found)
            while not index % 2 and index:
                index, last = index // 2, last // 2
        else:
            found = node(found, neighbour)
        index, last = index // 2, last // 2
    if last:
        raise NotProven("the path ends below the root")
    return found


def digest_of(previous_digest: str, facts: dict[str, Any]) -> str:
    """The digest of a statement: of its facts, which name their version, and of the digest before it."""
    text = json.dumps(
        {**facts, "previous": previous_digest}, sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return hashlib.sha256(text.encode() + b"\n").hexdigest()


def facts_of(statement: Any) -> dict[str, Any]:
    """The facts of a statement whose digest holds. Raises NotProven."""
    try:
        facts, previous, digest = statement["facts"], statement["previous_digest"], statement["digest"]
        code, _ = facts["code"], facts.get("receipts")
    except (KeyError, TypeError, AttributeError):
        raise NotProven("this is no statement: code, facts, previous_digest or digest is missing") from None
    if digest_of(str(previous), facts) != digest:
        raise NotProven(f"{code}: its facts do not make its digest")
    return dict(facts)


def check_statement(statement: Any) -> tuple[str, bytes, int]:
    """The code, the tree's root and its size, of a statement whose digest holds. Raises NotProven."""
    facts = facts_of(statement)
    code, tree = facts["code"], facts.get("receipts")
    if not tree:
        raise NotProven(f"{code} was issued before statements named their receipts")
    if not isinstance(tree, dict) or tree.get("scheme") != SCHEME:
        raise NotProven(f"{code}: its receipts are of a form that this program does not know")
    return str(code), _hash(tree.get("root")), _count(tree.get("rows"))


def check_receipt(receipt: Any, statements: Iterable[Any]) -> list[str]:
    """What was proven, a line each. Raises NotProven at the first thing that does not fit."""
    trees = {code: (root, size) for code, root, size in map(check_statement, statements)}
    try:
        request, rows = str(receipt["request_id"]), receipt["proofs"]
    except (KeyError, TypeError):
        raise NotProven("this receipt has no proofs: its month is not closed yet") from None
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_ROWS:
        raise NotProven("this receipt has no proofs: its month is not closed yet")
    said, proven, total = [], set(), Decimal(0)
    for row in rows:
        try:
            text, code, index, path = row["row"], row["statement"], row["index"], row["path"]
        except (KeyError, TypeError):
            raise NotProven("a proof lacks its row, statement, index or path") from None
        if code not in trees:
            said.append(f"not checked: a row of {code}, whose statement was not given")
            continue
        root, size = trees[code]
        facts = _row(text)
        if facts.get("request_id") != request:
            raise NotProven(f"a row of {code} is of another request")
        if not 0 <= (place := _count(index)) < size:
            raise NotProven(f"{code} has {size} rows, and none at {place}")
        if (code, place) in proven:
            raise NotProven(f"row {place} of {code} is shown twice")
        proven.add((code, place))
        if root_by(leaf(text), index=place, size=size, path=_path(path)) != root:
            raise NotProven(f"row {place} is not part of {code}")
        billed = _amount(facts.get("billed_usd"))
        total += billed
        said.append(f"row {place} of {size} of {code}: {facts.get('kind')}, {billed:f} USD billed")
    if not proven:
        raise NotProven("no row was checked: give the statement of the receipt's month")
    return [*said, f"{len(proven)} rows proven, {total:f} USD billed"]


def check_certificate(certificate: Any, others: Iterable[Any]) -> list[str]:
    """What was proven of a certificate, a line each; the others are its statement and, if given, its annex. Raises NotProven."""
    others = list(others)
    annexes = [one for one in others if isinstance(one, dict) and one.get("object") == "certificate_annex"]
    facts = {str(one["code"]): one for one in (facts_of(one) for one in others if one not in annexes)}
    try:
        text = certificate["text"].encode()
        body = json.loads(text)
        code, claims = body["statement"], body["claims"]
        statement = facts[code]
        groups, rest, accounts = claims["calls"]["groups"], claims["others"], claims["accounts"]
        calls = _amount(claims["calls"]["billed_usd"])
        sums = {
            str(one["group"]): (_count(one["rows"]), _amount(one["billed_usd"]), one["share"])
            for one in groups
        }
        further = [(_count(one["rows"]), _amount(one["billed_usd"])) for one in rest]
        reported = {str(one["account"]): (_count(one["days_reported"]), one["shares"]) for one in accounts}
        closed = body["closed"]
        asked, confirmed = closed["asked_by"], closed["confirmed_by"]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise NotProven("this certificate is not whole, or its statement is not given") from None
    if hashlib.sha256(text).hexdigest() != statement.get("certificate") or certificate["statement"] != code:
        raise NotProven(f"{code} was not issued with this certificate")
    same = {"month": "month", "tenant": "tenant", "rows": "rows", "requests": "requests", "currency": "currency",
            "issued_at": "issued_at", "timezone": "timezone"}  # fmt: skip
    for name, fact in same.items():
        if body.get(name) != statement.get(fact):
            raise NotProven(f"the certificate says another {name} than {code}")
    for name in ("exact_usd", "total"):
        if _amount(body.get(name)) != _amount(statement.get(name)):
            raise NotProven(f"the certificate says another {name} than {code}")
    if closed.get("forced_reason") != statement.get("forced_reason"):
        raise NotProven(f"the certificate says another reason than {code}")
    if len(sums) != len(groups) or sum((usd for _, usd, _ in sums.values()), start=Decimal(0)) != calls:
        raise NotProven("the groups of the certificate do not make what is billed for calls")
    if calls + sum((usd for _, usd in further), start=Decimal(0)) != _amount(body["exact_usd"]):
        raise NotProven("what the certificate divides is not what the month cost")
    if sum(rows for rows, _, _ in sums.values()) + sum(rows for rows, _ in further) != _count(body["rows"]):
        raise NotProven("the rows of the certificate are not those of the month")
    for group, (_, usd, share) in sums.items():
        if not _is_share(share, usd, calls, is_claim=group.startswith("explained")):
            raise NotProven(f"{group}: the share is not the one of its amounts")
    is_made = any(days for days, _ in reported.values())
    if claims["is_made"] is not is_made or (not is_made and set(sums) - {"not_reported"}):
        raise NotProven("the certificate claims something of days without a report")
    if any(shares and not days for days, shares in reported.values()):
        raise NotProven("the certificate has shares of a bill without a report")
    if closed.get("four_eyes") and (not confirmed or confirmed == asked):
        raise NotProven("four eyes were asked for, and there is no second person")
    for annex in annexes:
        found = json.dumps(annex, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        if hashlib.sha256(found.encode()).hexdigest() != body.get("annex_sha256"):
            raise NotProven("this annex is not the certificate's")
    said = [f"the certificate is the one that {code} was issued with"]
    if is_made:
        said += [
            f"{group}: {usd:f} USD of {calls:f}, {share or 'no share'}"
            for group, (_, usd, share) in sums.items()
        ]
    else:
        said.append("no report of a provider was there: nothing is claimed")
    if annexes:
        said.append("the annex is the certificate's")
    by = f"asked for by {asked}, confirmed by {confirmed}" if confirmed else f"by {closed.get('closed_by')}"
    return [*said, f"closed {by}"]


def _is_share(text: Any, part: Decimal, whole: Decimal, *, is_claim: bool) -> bool:
    """Whether a share is one of these amounts to the sixth place, rounded against who claims it."""
    if not whole:
        return bool(text == "")
    off = _amount(text) - part / whole
    return -_SHARE < off <= 0 if is_claim else 0 <= off < _SHARE


def _row(text: Any) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (TypeError, ValueError):
        raise NotProven("a row is not JSON") from None
    if not isinstance(facts, dict):
        raise NotProven("a row is not a JSON object")
    return facts


def _path(path: Any) -> list[bytes]:
    if not isinstance(path, list) or len(path) > 64:
        raise NotProven("a path is a list of at most 64 hashes")
    return [_hash(one) for one in path]


def _hash(value: Any) -> bytes:
    if not isinstance(value, str) or not _HASH.match(value):
        raise NotProven("a hash has 64 hexadecimal digits")
    return bytes.fromhex(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise NotProven("a count is a whole number, not below zero")
    return value


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise NotProven("an amount is not a number") from None
    if not amount.is_finite() or abs(amount.adjusted()) > MOST_PLACES:
        raise NotProven("an amount is not a number")
    return amount


def _read(name: str) -> Any:
    path = Path(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise NotProven(f"{name} is larger than {MOST_BYTES} bytes")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise NotProven(f"{name} cannot be read as JSON ({type(error).__name__})") from None


def main(arguments: Sequence[str]) -> int:
    """Print what was proven; 0 if all that was checked holds, 1 at the first thing that does not, 2 for a wrong call."""
    if len(arguments) < 2:
        print(
            "usage: verify receipt.json|certificate.json statement.json [statement.json ...]", file=sys.stderr
        )
        return 2
    try:
        receipt, *statements = map(_read, arguments)
        is_certificate = isinstance(receipt, dict) and receipt.get("object") == "certificate"
        for line in (check_certificate if is_certificate else check_receipt)(receipt, statements):
            print(line)
        for statement in statements:
            if "facts" in statement:
                print(f"digest of {statement['facts']['code']}: {statement['digest']}")
    except NotProven as error:
        print(f"NOT PROVEN: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
