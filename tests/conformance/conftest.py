"""The OpenAI SDK's own tests are collected where there is a copy of them: see test_openai_sdk_suite.py."""

import os

collect_ignore = [] if os.environ.get("OPENAI_SDK_TESTS") else ["test_openai_sdk_suite.py"]
