"""Keep what owners said about their photos in Redis, as long as the photos."""

from __future__ import annotations

import json
from contextlib import suppress

from jobs.catalog import Feedback, PhotoEntry, PhotoPage, Summary
from jobs.cluster.redis_client import KEY_PREFIX, RedisClient
from jobs.store import StoreError
from photo_result import Result

# limit, hash to start after ('' for none), owner ('' for all), `marked` for those with feedback
# -> for each photo that is Ready: digest, number, time of its end, summary, file names, feedback;
# the last three may be nil. Nil if the hash to start after is unknown to the owner.
_PAGE = """
local limit, after, owner = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local low, found = '-inf', {}
local set = owner ~= '' and P .. 'owned:' .. owner
if ARGV[4] == 'marked' then set = P .. 'marked:' .. owner end
if after ~= '' then
  low = call('HGET', P .. 'photo:' .. after, 'number')
  local owners = P .. 'owners:' .. after
  if not low or owner ~= '' and call('SISMEMBER', owners, owner) == 0 then return false end
  low = '(' .. low
end
while #found < limit do
  local some = call('ZRANGEBYSCORE', P .. 'ready', low, '+inf', 'LIMIT', 0, 500)
  if #some == 0 then return found end
  local owned = set and call('SMISMEMBER', set, unpack(some))
  for i, digest in ipairs(some) do
    if #found < limit and (not owned or owned[i] == 1) then
      local number, summary = unpack(call('HMGET', P .. 'photo:' .. digest, 'number', 'summary'))
      table.insert(found, {digest, number, call('ZSCORE', P .. 'ended', digest), summary,
                           call('HGET', P .. 'names:' .. digest, owner),
                           call('HGET', P .. 'feedback:' .. digest, owner)})
    end
  end
  low = '(' .. call('ZSCORE', P .. 'ready', some[#some])
end
return found
"""

# digest, owner, feedback ('' to delete it) -> 0 if the photo is unknown to the owner
_MARK = """
local digest, owner, feedback = ARGV[1], ARGV[2], ARGV[3]
if call('EXISTS', P .. 'photo:' .. digest) == 0 then return 0 end
if owner ~= '' and call('SISMEMBER', P .. 'owners:' .. digest, owner) == 0 then return 0 end
if feedback == '' then
  unmark(digest, owner)
else
  call('HSET', P .. 'feedback:' .. digest, owner, feedback)
  call('SADD', P .. 'marked:' .. owner, digest)
  keep_notes(digest)
end
return 1
"""

# digest, number, summary
_SUMMARISE = """
local photo = P .. 'photo:' .. ARGV[1]
if call('HGET', photo, 'number') == ARGV[2] then call('HSET', photo, 'summary', ARGV[3]) end
"""


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

    def page(
        self, limit: int, after: str | None = None, owner: str = "", *, marked: bool = False
    ) -> PhotoPage | None:
        """See `Catalog.page`."""
        rows = self._redis.run_script(
            _PAGE, limit + 1, after or "", owner, "marked" if marked else ""
        )
        if rows is None:
            return None
        entries = []
        for name, number, ended, text, names, marks in rows[:limit]:
            digest = name.decode()
            summary = self._summarise(digest, number) if text is None else Summary.unpack(text)
            if summary is not None:
                feedback = Feedback.unpack(marks) if marked and marks is not None else None
                names = json.loads(names or "[]")
                entries.append(PhotoEntry(digest, float(ended), summary, names, feedback))
        return PhotoPage(entries, rows[limit - 1][0].decode() if len(rows) > limit else None)

    def feedback(self, digest: str, owner: str = "") -> Feedback | None:
        """See `Catalog.feedback`."""
        found = self._redis.call(lambda redis: redis.hget(f"{KEY_PREFIX}feedback:{digest}", owner))
        return None if found is None else Feedback.unpack(found)  # type: ignore[arg-type]

    def set_feedback(self, digest: str, feedback: Feedback | None, owner: str = "") -> bool:
        """See `Catalog.set_feedback`."""
        text = "" if feedback is None else feedback.pack()
        return bool(self._redis.run_script(_MARK, digest, owner, text))

    def _summarise(self, digest: str, number: bytes) -> Summary | None:
        """Store the summary of a result that has none, and return it; None if it is deleted."""
        packed = self._redis.call(lambda redis: redis.get(f"{KEY_PREFIX}result:{digest}"))
        if packed is None:
            return None
        summary = Summary.of(Result.unpack(packed))  # type: ignore[arg-type]
        with suppress(StoreError):  # else it is made again
            self._redis.run_script(_SUMMARISE, digest, number, summary.pack())
        return summary
