"""What is kept for clients: responses and items at their provider, chat completions in our database.

It owns who may refer to them. It does not own cached answers: `caching` does.
"""
