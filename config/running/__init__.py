"""Starting, watching and stopping the processes of `make run` and of a container.

It owns child processes, embedded servers, draining and the watchdog. It does not own what they serve.
"""
