"""Work that is done beside the calls: Celery's queues, its worker processes, and what they report.

It owns which queue a task waits in and how long it may take. It does not own what tasks do: each calls one function of an app.
"""
