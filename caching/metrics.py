"""The Prometheus metrics of the caches. Labels are bounded: no tenant, no scope, no text."""

from prometheus_client import Counter, Gauge, Histogram

from config.tallies import Tally

LOOKUPS = Tally("purser_cache_lookups_total", "Look-ups ended", ["cache", "outcome", "reason"])
FAILURES = Counter("purser_cache_failures_total", "Times a cache could not answer", ["dependency", "kind"])
CIRCUIT_OPEN = Gauge(
    "purser_cache_circuit_open", "1 while a dependency is left out", ["dependency"], multiprocess_mode="max"
)
FLIGHTS = Tally(
    "purser_cache_flights_total",
    "Requests that led equal ones, shared an answer, or waited without getting one",
    ["outcome"],
)
CHECKS = Counter(
    "purser_cache_checks_total",
    "Hits chosen to be checked upstream, by the outcome of the check",
    ["outcome"],
)
JUDGED = Counter(
    "purser_cache_judged_total",
    "Pairs of answers that needed a judge model, by its verdict",
    ["outcome"],
)
EMBED_CALLS = Counter(
    "purser_cache_embed_calls_total", "Calls to providers for vectors, by outcome", ["outcome"]
)
EMBED_GROUP_TEXTS = Histogram(
    "purser_cache_embed_group_texts",
    "Texts that were embedded together, in the process or in one call to a provider",
    ["where"],
    buckets=(1, 2, 4, 8, 16, 32),
)
STORED = Tally("purser_cache_stored_total", "Answers kept", ["cache"])
EVICTED = Counter("purser_cache_evicted_total", "Entries removed", ["reason"])
LABELS = Counter(
    "purser_cache_labels_total", "Judged pairs of a fresh and a cached answer", ["source", "verdict"]
)
INDEXED = Gauge(
    "purser_cache_indexed_scopes",
    "Scopes large enough for an index of their own",
    multiprocess_mode="mostrecent",
)
EMBEDDING = Histogram(
    "purser_cache_embedding_seconds",
    "From asking for a text's vector to having it",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
SEARCH = Histogram(
    "purser_cache_search_seconds",
    "Search in pgvector, transaction included",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
