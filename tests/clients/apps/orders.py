"""Takes orders as lines of JSON on standard input and answers each with a line on standard output.

Invariant: one line in, one line out; what a framework prints goes to standard error.
"""

import contextlib
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any


def take_orders(scenarios: Mapping[str, Callable[..., Any]]) -> None:
    """Run what each order names with the arguments it brings, until there are no more."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            order = json.loads(line)
            try:
                answer = {"answer": scenarios[order["scenario"]](**order["arguments"])}
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
