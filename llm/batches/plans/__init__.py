"""What becomes of a batch's lines before any is sent: each is routed, answered from memory, or led by an equal one.

It owns the plan of a line, the choice of its account, and the booking of answers from memory. It does not own the steps: those
of every call are taken.
"""
