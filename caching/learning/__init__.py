"""What the cache learns about itself: labels, agreement of answers, and noise.

It owns evidence and the weights made of it. It does not own the use of those weights (`scoring`).
"""
