"""The fields of usage blocks that carry no cost, each with the reason why we think so.

Invariant: a field is here because its meaning was looked up, never because of what its name sounds like: `prompt_audio_seconds`
is billed, `prompt_time` is not.
"""

from typing import Final

_WHY: Final = {
    # how long it took: only the tokens are billed
    "times of a run (Groq)": (*("queue_time", "prompt_time", "completion_time", "total_time", "queue_ms"),),
    "times of a run, in ns (Ollama)": (
        *("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"),
    ),
    "times and rates of a run (llama.cpp)": ("timings",),
    "times and rates of a run (SambaNova)": (
        *("acceptance_rate", "completion_tokens_after_first_per_sec"),
        *("completion_tokens_after_first_per_sec_first_ten", "completion_tokens_after_first_per_sec_graph"),
        *("completion_tokens_per_sec", "end_time", "is_last_response", "start_time", "stop_reason"),
        *("time_to_first_token", "time_to_first_token_graph", "total_latency", "total_tokens_per_sec"),
    ),
    "times and rates of a run (others)": (
        *(
            "latency",
            "latency_checkpoint",
            "latency_ms",
            "tokens_per_second",
            "response_token/s",
            "prompt_token/s",
        ),
        *("prompt_tokens_per_second", "completion_tokens_per_second"),
    ),
    # the provider's own cost estimate: our own prices decide, and reconciliation compares
    "an echo of the cost (OpenRouter, Perplexity, xAI, DeepInfra)": (
        *("cost", "cost_details", "cost_in_usd_ticks", "estimated_cost", "is_byok"),
    ),
    # what the block is, not what was used
    "a label": ("object", "type", "model", "id", "unit"),
}

FREE_FIELDS: Final[dict[str, str]] = {name: why for why, names in _WHY.items() for name in names}
