"""What models cost: price books, rate plans, and rating meters with them.

It owns prices and how they change, the price lists that are imported, and the arithmetic of one call's cost and savings.
It does not own what was used (`usage`) or what was booked (`ledger`).
"""
