"""What the tests' configuration files declare: a model below its name and its provider, the shared models, a tenant."""

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

WORLD = (
    """
providers:
  - {name: sandbox-openai, kind: openai, base_url: "${SANDBOX}/v1", api_key: sk-sandbox}
  - {name: sandbox-anthropic, kind: anthropic, base_url: "${SANDBOX}", api_key: sk-sandbox}
models:
  - name: gpt-4.1-nano
    provider: sandbox-openai
    upstream: gpt-4.1-nano
    tier: simple
    context_window: 1047576
    max_output_tokens: 32768
    capabilities: [tools, vision, json_schema]
    prices: &nano
      - {meter: input, usd_per_million: "0.10"}
      - {meter: cache_read, usd_per_million: "0.025"}
      - {meter: output, usd_per_million: "0.40"}
      - {meter: input, processing: batch, usd_per_million: "0.05"}
      - {meter: output, processing: batch, usd_per_million: "0.20"}
  - name: gpt-4o-mini
    provider: sandbox-openai
"""
    + GPT_4O_MINI
    + """\
  - name: gpt-4o
    provider: sandbox-openai
    upstream: gpt-4o
    tier: complex
    context_window: 128000
    max_output_tokens: 16384
    capabilities: [tools, vision, json_schema]
    prices:
      - {meter: input, usd_per_million: "2.5"}
      - {meter: cache_read, usd_per_million: "1.25"}
      - {meter: output, usd_per_million: "10"}
      - {meter: input, processing: batch, usd_per_million: "1.25"}
      - {meter: output, processing: batch, usd_per_million: "5"}
  - name: claude-haiku-4-5
    provider: sandbox-anthropic
    upstream: claude-haiku-4-5
    tier: standard
    context_window: 200000
    max_output_tokens: 64000
    capabilities: [tools, vision]
    prices:
      - {meter: input, usd_per_million: "1"}
      - {meter: cache_read, usd_per_million: "0.10"}
      - {meter: cache_write_5m, usd_per_million: "1.25"}
      - {meter: cache_write_1h, usd_per_million: "2"}
      - {meter: output, usd_per_million: "5"}
      - {meter: input, processing: batch, usd_per_million: "0.50"}
      - {meter: output, processing: batch, usd_per_million: "2.50"}
  - name: text-embedding-3-small
    kind: embedding
    provider: sandbox-openai
    upstream: text-embedding-3-small
    context_window: 8191
    prices:
      - {meter: input, usd_per_million: "0.02"}
  - name: unpriced-model
    provider: sandbox-openai
    upstream: unpriced-model
    context_window: 8191
    prices: []
"""
)

TENANT = """
  - slug: {slug}
    name: {name}
    timezone: Europe/Berlin
    policy: {policy}
    users: {users}
    keys: {keys}
    budgets: {budgets}
    rate_limits: {rate_limits}
    alerts: {alerts}
    channels: {channels}
"""
