"""The door: HTTP from the socket to a view of the gateway.

It owns admission to a worker, bodies, encodings, addresses and keep-alives. It does not own API keys (`tenants.keys`).
"""
