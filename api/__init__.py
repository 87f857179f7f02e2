"""The HTTP API: one group of routes or one helper per module, on top of `jobs.engine.Engine`."""

VERSION = "0.1.0"  # of the service, for the OpenAPI document and the metrics
