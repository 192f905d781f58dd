"""Settings, servers and processes: how the apps are combined and run.

It owns the door, the database connections, the site around the apps, and starting and stopping.
It does not own any rule of the product.
"""
