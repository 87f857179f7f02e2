"""The HTTP API: one blueprint or helper per module; knows jobs only by `jobs.engine`."""
