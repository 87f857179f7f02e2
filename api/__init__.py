"""The HTTP API: one group of routes or one helper per module, on top of `jobs.engine.Engine`."""
