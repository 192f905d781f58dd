"""How the gateway checks itself: judging answers, checking cache hits, and remote embedding models.

It owns our own calls to providers. It does not own what the cache learns from them: `caching.learning` does.
"""
