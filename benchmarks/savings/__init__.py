"""The sources' workload through the running product: what a month costs after each step, and what that does to the answers."""
