"""What the sandbox's models reply: prose, JSON, tool calls.

It owns the content of answers. It does not own their format (`openai`, `anthropic`) or their delivery.
"""
