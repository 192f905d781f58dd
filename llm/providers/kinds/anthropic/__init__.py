"""Providers that speak Anthropic's API."""
