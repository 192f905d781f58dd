"""The home page: what is spent and saved, what goes wrong, and what waits for a person.

It owns which figures stand on the page and in which order. It does not own the figures: they are days' sums of `billing` and
`llm`, and what waits is decided on the pages that its links lead to.
"""
