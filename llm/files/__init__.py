"""Files of tenants: uploaded, kept in a storage, read, deleted and swept.

It owns their rows and their contents. It does not own what the lines of a batch are, nor what becomes of them: `llm.batches`
does.
"""
