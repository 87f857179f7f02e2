"""Keep what owners said about their photos in Redis, as long as the photos."""

from __future__ import annotations

import json

from jobs.cluster.redis_client import KEY_PREFIX, RedisClient


class RedisCatalog:
    """Implementation of `jobs.catalog.Catalog` under the keys of `jobs.cluster.scripts`.

    Args:
        redis: the Redis client.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def file_names(self, digest: str, owner: str = "") -> list[str]:
        """See `Catalog.file_names`."""
        found = self._redis.call(lambda redis: redis.hget(f"{KEY_PREFIX}names:{digest}", owner))
        names: list[str] = json.loads(found or "[]")  # type: ignore[arg-type]
        return names
