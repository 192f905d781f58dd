"""The OpenAI Python SDK's own tests of its resources, against the running product instead of OpenAI's mock.

`OPENAI_SDK_TESTS` names the SDK's source folder (its sdist has the tests); without it this is not collected. Those tests were
written for a mock that answers any id and any empty body. A test that cannot pass against a server that means what it
says must fail with one of the outcomes below, and no other.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.stack import Stack

FOLDER = os.environ.get("OPENAI_SDK_TESTS", "")
KEY = "My API Key"  # what their conftest sends
PARTS = [
    *("chat", "responses", "test_batches.py", "test_completions.py", "test_embeddings.py", "test_files.py"),
    *("test_models.py", "test_responses.py"),
]
# why one of their tests cannot pass, by the error that it gets
EXPLAINED = {
    "an id that does not exist": r"NotFoundError.*There is no (stored|file|batch|response|'?resp)|has no response",
    "a response or a count of nothing": r"BadRequestError.*Field '(input|model)' must",
    "a model belongs to the operator": r"405.*DELETE is not a method of /v1/models",
    "no compaction": r"NotFoundError.*There is no /v1/responses/compact",
    "what OpenAI keeps is sent whole, made immediately, and continued by id": (
        r"A kept response is not streamed|answered immediately here|Conversations are not kept here"
    ),
    # the SDK asks for base64, and checks what comes for being a list of numbers
    "strict about base64": r"Data returned by API invalid for expected schema",
}


def test_it_works(stack: Stack, committed: None, tmp_path: Path) -> None:
    folder = Path(FOLDER)
    models = {
        name
        for part in PARTS
        for file in sorted((folder / "tests/api_resources" / part).rglob("*.py"))
        or [folder / "tests/api_resources" / part]
        for name in re.findall(r'\bmodel="([^"]+)"|models\.retrieve\(\s*"([^"]+)"', file.read_text())
        for name in name
        if name and not name.startswith("ft:")
    }
    declare(stack, sorted(models))
    report = tmp_path / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder)),
            *(
                "-p",
                "no:cacheprovider",
                "-p",
                "no:schemathesis",
                "-p",
                "no:django",
                "-o",
                "asyncio_mode=auto",
            ),
            *("--junitxml", str(report), *(f"tests/api_resources/{part}" for part in PARTS)),
        ],
        cwd=folder,
        env={**os.environ, "TEST_API_BASE_URL": f"{stack.base_url}/v1"},
        timeout=1200,
    )
    cases = ElementTree.parse(report).getroot().iter("testcase")
    told = {
        f"{case.get('classname')}.{case.get('name')}": " ".join(
            case.find("failure").get("message", "").split()
        )
        if case.find("failure") is not None
        else ""
        for case in cases
        if case.find("skipped") is None
    }
    reasons = Counter(reason_of(message) for message in told.values())
    print("\n".join(f"{count:5} {reason}" for reason, count in reasons.most_common()))
    assert [name for name, message in told.items() if reason_of(message) == "not explained"] == []
    assert reasons["passed"] > len(told) / 3


def declare(stack: Stack, models: list[str]) -> None:
    """The models their tests ask for, as an operator would declare them, and a tenant with their key."""
    from llm.configuration import apply_configuration
    from tenants.keys import strings as keys
    from tenants.models import ApiKey

    prices = [{"meter": meter, "usd_per_million": "1"} for meter in ("input", "cache_read", "output")]
    common = {"provider": "sandbox-openai", "context_window": 128000, "prices": prices}
    chat = {"max_output_tokens": 16384, "capabilities": ["tools", "vision", "json_schema"]}
    document = {
        "providers": [
            {
                "name": "sandbox-openai",
                "kind": "openai",
                "base_url": f"{stack.sandbox_url}/v1",
                "api_key": "sk-sandbox",
            }
        ],
        "models": [
            {"name": name, "upstream": name, "kind": "embedding", **common}
            if "embedding" in name
            else {"name": name, "upstream": "gpt-4o-mini", **common, **chat}
            for name in models
        ],
        "tenants": [{"slug": "sdk-suite", "name": "SDK", "keys": [{"name": "sdk", "models": ["*"]}]}],
    }
    apply_configuration(json.dumps(document), source="sdk.yaml", environ={}, dry_run=False)
    # shorter than a secret may be
    ApiKey.objects.filter(tenant__slug="sdk-suite", name="sdk").update(
        public_id=keys.public_id_of(KEY), secret_hash=keys.hash_secret(KEY)
    )


def reason_of(message: str) -> str:
    if not message:
        return "passed"
    return next((reason for reason, told in EXPLAINED.items() if re.search(told, message)), "not explained")
