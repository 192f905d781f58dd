"""What the benchmark of batches is made of: the running product, its clients, the comparison of all books."""
