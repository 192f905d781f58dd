"""The pages of the portal for those who read all of a tenant's money: owners and finance.

It owns what was spent by days and by teams, the reports of months, statements and chargebacks. It does not own figures: they
are those of the days' sums and of `billing.months`.
"""
