"""`python -m llm.sandbox --port N`: starts the sandbox provider."""

import argparse
from pathlib import Path

from llm.sandbox.server import run
from llm.sandbox.state import Settings


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m llm.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one and prints it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--seed", type=int, help="makes identifiers repeat run by run")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="until the first byte of an answer")
    parser.add_argument("--tokens-per-second", type=float, default=0.0, help="0: as fast as it goes")
    parser.add_argument("--batch-delay", type=float, default=0.5, help="seconds until a batch is worked off")
    parser.add_argument(
        "--known-models-only", action="store_true", help="404 for models not in the catalogue"
    )
    parser.add_argument("--log", type=Path, help="append every finished call to this file as JSON lines")
    options = parser.parse_args()
    settings = Settings(
        latency_ms=options.latency_ms,
        tokens_per_second=options.tokens_per_second,
        batch_delay_s=options.batch_delay,
        allow_any_model=not options.known_models_only,
    )
    run(host=options.host, port=options.port, settings=settings, seed=options.seed, log=options.log)


if __name__ == "__main__":
    main()
