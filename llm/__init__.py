"""The gateway: everything between a client's request and its answer.

It owns the pipeline, the protocols, the catalogue of models, and the calls to providers.
It does not own money (`billing`), cached answers (`caching`), or keys and policies (`tenants`).
"""
