"""Policies as forms show and change them.

It owns each field by its path, the steps of the pipeline they belong to, and the one change. It does not own what a policy means:
`tenants.policy` does, and every change is checked by it, whatever way it came.
"""
