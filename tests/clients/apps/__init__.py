"""Programs written with the frameworks, which run in the clients' own Python environment; the tests ask them."""
