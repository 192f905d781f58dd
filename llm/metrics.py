"""The gateway's metrics for Prometheus. Labels are bounded: endpoints, models, cache states, codes; never a tenant or user."""

from prometheus_client import Counter

from config.tallies import Spread, Tally

REQUESTS = Tally(
    "purser_requests_total", "Calls ended, answered or not", ["endpoint", "model", "cache", "status", "code"]
)
OVERHEAD = Spread(
    "purser_overhead_seconds",
    "Time of a call that was ours, not the provider's",
    ["endpoint"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
FIRST_TOKEN = Spread(
    "purser_first_token_seconds",
    "From the call's arrival to the first byte of its streamed answer",
    ["model"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
TOKENS = Tally("purser_tokens_total", "Tokens billed by providers", ["model", "direction"])
COST = Tally(
    "purser_cost_usd_total",
    "Cost of calls in USD (a figure for graphs: the ledger has the exact one)",
    ["model"],
)
# a counter only rises, and a call may save less than nothing: what was saved is this less the cost
LIST_COST = Tally(
    "purser_list_cost_usd_total", "Cost at list price, without us, in USD (for graphs)", ["model"]
)
ATTEMPTS = Tally("purser_attempts_total", "Calls to providers", ["provider", "model", "outcome"])
HEDGES = Tally(
    "purser_hedges_total", "Calls whose first byte was late, by which attempt answered", ["answered_by"]
)
STRUCTURED = Tally(
    "purser_structured_outputs_total", "Answers that had to fit a schema, by result", ["outcome"]
)
REPLAYS = Tally("purser_idempotent_replays_total", "Calls answered by an earlier call's answer", ["endpoint"])
UNLOGGED = Counter("purser_refusals_unlogged_total", "Refusals that left no row, because too many did")
