"""Money: prices, budgets, the ledger, and what finance makes of it.

It owns every amount that is held, booked, corrected, closed or exported, and the SQL functions that write them.
It does not own calls to providers, HTTP, or who a tenant is: `llm` and `tenants` do.
"""
