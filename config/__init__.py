"""Settings, servers and processes: how the apps are put together and run."""
