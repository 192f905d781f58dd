"""Structured answers: which form was asked for, whether the answer has it, and how to ask once more.

It owns the check of an answer against its schema. It does not own the second call: `steps.repairing` does.
"""

from llm.structured.asked import Asked, Found, asked_of, found_in
from llm.structured.check import Unchecked, problem_with
from llm.structured.repair import with_repair

__all__ = ["Asked", "Found", "Unchecked", "asked_of", "found_in", "problem_with", "with_repair"]
