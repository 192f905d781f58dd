"""Months: closing them, the statements that result, reports and exported files.

It owns the calendar of a tenant's books and every figure that finance reads.
It does not change what was booked: a closed month is corrected in the open one.
"""
