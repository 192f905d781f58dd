"""Measurements of the product; each module is one, run by `make bench-<name>`."""
