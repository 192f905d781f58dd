"""The sandbox's endpoints in Anthropic's wire format.

It owns their requests, rules and answers. It does not own what a model replies (`replies`).
"""
