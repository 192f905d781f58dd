"""Other gateways, as package registries give them, to be measured in the same run as ours.

Each has a locked environment of its own under `.bench`, the settings that its documentation recommends for production,
one worker as those recommend, and the gateway's core. It does not own the load (`benchmarks.load`).
"""
