"""Who a body says it is for: the person, and apart from that the session the person works in.

Invariant: pure, and bounded by the text's length. A user is a person: the same one in each session, or none.

Coding agents have one field for both. Claude Code sends `{"device_id", "account_uuid", "session_id"}` as text, older ones
`user_<device>_account_<uuid>_session_<uuid>`; others a blob or a text of their own, by the same idea.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

import orjson

from config.values import value_type

LONGEST: Final = 200
LONGEST_BLOB: Final = 16_384

# by their names without case and marks; of the person's the first that is filled
_PERSON: Final = (
    *("userid", "useruuid", "user", "username", "useremail", "email", "sub", "login"),
    *("accountuuid", "accountid", "account", "customerid", "memberid", "personid"),
    *("deviceid", "device", "machineid", "installationid", "clientid"),
)
_SESSION: Final = ("sessionid", "sessionuuid", "session", "sess")
_ALSO_OF_A_SESSION: Final = (
    *("conversationid", "conversation", "threadid", "thread", "chatid", "runid", "run", "taskid", "jobid"),
    *("traceid", "requestid", "messageid", "turnid", "invocationid"),
)
_OF_A_SESSION: Final = (*_SESSION, *_ALSO_OF_A_SESSION)
_CLAUDE_CODE: Final = re.compile(r"user_([^_]*)_account_([^_]*)_session_([^_]*)")
_SESSION_IN_WORDS: Final = re.compile(
    r"(?i)(?:^|[_:;,/|&=#.\s-])(?P<label>(?:session|sess|conversation|thread|chat|run|trace)(?:[_-]?id)?)[_:=/#.-]"
    r"(?P<value>[^_:;,/|&=#\s]+)"
)
_MARKS: Final = "_:;,/|&=#- \t"


@value_type
class Named:
    """A person's id and a session's; either may be empty."""

    person: str = ""
    session: str = ""


def named_in(text: str) -> Named:
    """The person and the session that a user's id names. An id without a session is a person as it is."""
    text = text.strip()
    if old := _CLAUDE_CODE.fullmatch(text):
        device, account, session = old.groups()
        return Named(bounded(account or device), bounded(session))
    if len(text) > LONGEST_BLOB:
        return Named(bounded(text))
    return (_of_json(text) if text.startswith("{") else _of_words(text)) or Named(bounded(text))


def bounded(text: str, most: int = LONGEST) -> str:
    """An id of at most so many characters: a longer one is cut, and a digest of all of it is added."""
    if len(text) <= most:
        return text
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: most - len(digest) - 1]}~{digest}" if most > len(digest) else digest[:most]


def _of_json(text: str) -> Named | None:
    try:
        decoded = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    pairs = list(_flat(decoded)) if isinstance(decoded, dict) else []
    person = _first(pairs, _PERSON)
    if not person:  # in fields of its own: what is left without the session
        left = sorted(pair for pair in pairs if pair[1] and pair[0] not in _OF_A_SESSION)
        person = "&".join(f"{name}={value}" for name, value in left)
    return Named(bounded(person), bounded(_first(pairs, _OF_A_SESSION)))


def _of_words(text: str) -> Named | None:
    """A text such as `alice_session_<id>` or `session:<id>;alice` without its session; None where it has none."""
    pairs: list[tuple[str, str]] = []
    kept: list[str] = []
    end = 0
    for match in _SESSION_IN_WORDS.finditer(text):
        name = _plain(match["label"])
        if _looks_made_up(match["value"], strictly=name not in _SESSION):
            pairs.append((name, match["value"]))
            kept.append(text[end : match.start()])
            end = match.end()
    if not pairs:
        return None
    return Named(bounded("".join([*kept, text[end:]]).strip(_MARKS)), bounded(_first(pairs, _OF_A_SESSION)))


def _first(pairs: list[tuple[str, str]], names: tuple[str, ...]) -> str:
    by_name = dict(reversed(pairs))
    return next((by_name[name] for name in names if by_name.get(name)), "")


def _flat(value: dict[str, Any], inside: str = "", depth: int = 3) -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        plain = inside + _plain(name)
        if isinstance(item, dict) and depth:
            yield from _flat(item, plain, depth - 1)
        elif isinstance(item, str | int) and not isinstance(item, bool):
            yield plain, str(item).strip()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _looks_made_up(text: str, *, strictly: bool) -> bool:
    """Whether a text is an id that a machine made: no word, with a digit in it; strictly, as long as a UUID's hex."""
    return len(text) >= (20 if strictly else 6) and any(map(str.isdigit, text))
