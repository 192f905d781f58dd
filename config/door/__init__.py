"""The ASGI layer ("door"): HTTP from the socket to a view of the gateway.

It owns the queue of calls, bodies, encodings, client addresses and keep-alives. It does not own API keys
(`tenants.keys`).
"""
