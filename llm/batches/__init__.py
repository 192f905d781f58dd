"""Files and batches: validated line by line, held, submitted to the providers' batch APIs, settled line by
line."""
