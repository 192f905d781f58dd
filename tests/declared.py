"""What the tests' configuration files say of a model, below its name and its provider."""

GPT_4O_MINI = """\
    upstream: gpt-4o-mini
    tier: standard
    context_window: 128000
    max_output_tokens: 16384
    capabilities: [tools, vision, json_schema]
    prices:
      - {meter: input, usd_per_million: "0.15"}
      - {meter: cache_read, usd_per_million: "0.075"}
      - {meter: output, usd_per_million: "0.60"}
      - {meter: input, processing: batch, usd_per_million: "0.075"}
      - {meter: output, processing: batch, usd_per_million: "0.30"}
"""
