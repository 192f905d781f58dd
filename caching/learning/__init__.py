"""What the cache learns from fresh answers: labels, agreement of answers, and noise.

It owns the evidence and the weights learnt from it. It does not own the use of those weights (`scoring`).
"""
