"""Change the state of photos in Redis: each step is one Lua script, and so atomic.

Keys, all of them with the prefix `carseg:`:

    last                 number of the newest job
    photo:<hash>         hash: number, state, message, attempts, accepted; while it is processed
                         also started, claim, stage; once it has ended also version, the version
                         of the models that made the result (missing in results from before
                         versions existed); once it is Ready also summary, as JSON (missing in
                         results from before summaries existed), and damage_version if the
                         result has damage. While damage is asked for and not in the result,
                         examine is 1; if the photo is Ready meanwhile, job is the number of
                         the job that examines it
    upload:<hash>        the file, until the photo has ended
    result:<hash>        the packed result, once the photo is Ready
    owners:<hash>        set: the owners of a photo
    owned:<owner>        set: the photos of an owner
    names:<hash>         hash: owner -> the names of the photo's files as JSON, newest first
    feedback:<hash>      hash: owner -> the marks of the owner as JSON
    marked:<owner>       set: the photos on which an owner has feedback
    unfinished           sorted set: photos whose jobs have not ended, by the job's number; each
                         of them is also in `waiting`, `waiting:damage` or `running`
    waiting              sorted set: waiting photos, by the job's number
    waiting:damage       the same for photos with examine, which workers of releases without damage
                         must not claim
    running              sorted set: photos being processed, by the end of their lease
    ready                sorted set: photos that are Ready, by number
    ended                sorted set: photos that have ended, by time
    counts               hash: counters of ended jobs, and histograms of their times
    swept                time of the last sweep for lapsed leases
    workers              sorted set: workers, by the time of their last heartbeat
    celery:photos        list: Celery's tasks that no worker has taken, see
                         `jobs.cluster.celery_tasks`

Times are in seconds of the clock of Redis, so the clocks of the machines need not agree. A claim
is the name of one attempt. The worker with the claim renews the lease. When the lease lapses, the
photo waits again, in its old place.

A full Redis refuses a script at its first write if that write needs memory. After a first write it
lets the script go on. A script that accepts a photo therefore starts with a write that needs
memory, and a script that must always work starts with `begin()`. Celery can do nothing with a full
Redis, so the last tenth of the memory is reserved for Celery and for scripts that end photos.
"""

PRELUDE = """
local P = 'carseg:'
local call = redis.call

local function now()
  local time = call('TIME')
  return time[1] + time[2] / 1000000
end

local function exact(time)
  return string.format('%.6f', time)
end

local function begin()
  call('DEL', P .. 'nothing')
end

local function has_room(bytes)
  local info = call('INFO', 'memory')
  local most = tonumber(string.match(info, 'maxmemory:(%d+)'))
  if not most or most == 0 then return true end
  return tonumber(string.match(info, 'used_memory:(%d+)')) + bytes < most * 0.9
end

local function forget_ending(digest)
  call('DEL', P .. 'result:' .. digest)
  call('ZREM', P .. 'ready', digest)
  call('ZREM', P .. 'ended', digest)
end

local function unmark(digest, owner)
  call('HDEL', P .. 'feedback:' .. digest, owner)
  call('SREM', P .. 'marked:' .. owner, digest)
end

-- Number of the photo's job: of its examination for damage, or the photo's own.
local function job_of(digest)
  local job, number = unpack(call('HMGET', P .. 'photo:' .. digest, 'job', 'number'))
  return job or number
end

local function remove_job(digest)
  for _, set in ipairs({'unfinished', 'waiting', 'waiting:damage', 'running'}) do
    call('ZREM', P .. set, digest)
  end
end

-- Put a photo at the place of its job among the waiting ones.
local function wait(digest)
  local set = call('HEXISTS', P .. 'photo:' .. digest, 'examine') == 1 and 'waiting:damage'
  call('ZADD', P .. (set or 'waiting'), job_of(digest), digest)
end

local function count_waiting(before)
  local last = before or '+inf'
  return call('ZCOUNT', P .. 'waiting', '-inf', last)
    + call('ZCOUNT', P .. 'waiting:damage', '-inf', last)
end

local function first_waiting()
  local plain = call('ZRANGE', P .. 'waiting', 0, 0, 'WITHSCORES')
  local damage = call('ZRANGE', P .. 'waiting:damage', 0, 0, 'WITHSCORES')
  if not damage[1] or plain[1] and tonumber(plain[2]) < tonumber(damage[2]) then return plain[1] end
  return damage[1]
end

local function drop(digest)
  forget_ending(digest)
  call('DEL', P .. 'photo:' .. digest, P .. 'upload:' .. digest)
  remove_job(digest)
  for _, owner in ipairs(call('SMEMBERS', P .. 'owners:' .. digest)) do
    call('SREM', P .. 'owned:' .. owner, digest)
  end
  for _, owner in ipairs(call('HKEYS', P .. 'feedback:' .. digest)) do unmark(digest, owner) end
  call('DEL', P .. 'owners:' .. digest, P .. 'names:' .. digest)
end

local function share(digest, owner)
  call('SADD', P .. 'owned:' .. owner, digest)
  return call('SADD', P .. 'owners:' .. digest, owner)
end

-- Keep the notes of a photo's owners as long as the photo.
local function keep_notes(digest)
  local left = call('TTL', P .. 'photo:' .. digest)
  for _, kind in ipairs({'owners:', 'names:', 'feedback:'}) do
    if left > 0 then call('EXPIRE', P .. kind .. digest, left)
    else call('PERSIST', P .. kind .. digest) end
  end
end

local function add_name(digest, owner, name, most)
  if name == '' then return end
  local key, names = P .. 'names:' .. digest, {name}
  for _, other in ipairs(cjson.decode(call('HGET', key, owner) or '[]')) do
    if other ~= name and #names < tonumber(most) then table.insert(names, other) end
  end
  call('HSET', key, owner, cjson.encode(names))
  keep_notes(digest)
end

-- Queue a photo that is Ready, and keep its result until the one with damage is there.
local function examine(digest, upload)
  call('SET', P .. 'upload:' .. digest, upload)
  local photo, job = P .. 'photo:' .. digest, call('INCR', P .. 'last')
  call('HSET', photo, 'examine', 1, 'job', job, 'attempts', 0, 'accepted', exact(now()))
  call('HDEL', photo, 'damage_error')
  call('PERSIST', photo)
  call('PERSIST', P .. 'result:' .. digest)
  keep_notes(digest)
  call('ZADD', P .. 'unfinished', job, digest)
  wait(digest)
  return job
end

local function end_job(digest)
  call('DEL', P .. 'upload:' .. digest)
  remove_job(digest)
  call('HDEL', P .. 'photo:' .. digest, 'started', 'claim', 'stage', 'examine', 'job')
end

local function add(digest, owner, message, damage)
  local number = call('INCR', P .. 'last')
  forget_ending(digest)
  call('DEL', P .. 'photo:' .. digest)
  call('ZREM', P .. 'running', digest)
  call('HSET', P .. 'photo:' .. digest, 'number', number, 'state', 'Uploaded',
       'message', message, 'attempts', 0, 'accepted', exact(now()))
  if damage ~= '' then call('HSET', P .. 'photo:' .. digest, 'examine', 1) end
  keep_notes(digest)
  share(digest, owner)
  call('ZADD', P .. 'unfinished', number, digest)
  wait(digest)
  return number
end

local function unfinished(number)
  return call('ZRANGEBYSCORE', P .. 'unfinished', number, number)[1]
end

local function count(name, by)
  call('HINCRBYFLOAT', P .. 'counts', name, by)
end

local function finish(digest, state, message, result, seconds, version, summary, damage_version)
  local photo = P .. 'photo:' .. digest
  local keeps_result = state == 'Error' and call('HGET', photo, 'job')
  local upload = state == 'Ready' and not damage_version and call('HGET', photo, 'examine')
    and call('GET', P .. 'upload:' .. digest)
  end_job(digest)
  if keeps_result then
    call('HSET', photo, 'damage_error', message)
    call('EXPIRE', P .. 'result:' .. digest, seconds)
    call('EXPIRE', photo, seconds)
    keep_notes(digest)
    return
  end
  if damage_version then call('HSET', photo, 'damage_version', damage_version) end
  call('HSET', photo, 'state', state, 'message', message, 'version', version or '')
  if summary and summary ~= '' then call('HSET', photo, 'summary', summary) end
  call('ZADD', P .. 'ended', exact(now()), digest)
  if result ~= '' then
    call('SET', P .. 'result:' .. digest, result, 'EX', seconds)
  end
  if state == 'Ready' then
    call('ZADD', P .. 'ready', call('HGET', photo, 'number'), digest)
  end
  call('EXPIRE', photo, seconds)
  keep_notes(digest)
  if upload then examine(digest, upload) end  -- asked for damage while it was processed
end

-- Nobody works on a photo any more: it waits again, or was tried often enough. Returns its end.
local function lapse(digest, attempts, message, twice, seconds)
  local photo = P .. 'photo:' .. digest
  call('ZREM', P .. 'running', digest)
  if tonumber(call('HGET', photo, 'attempts') or 0) >= tonumber(attempts) then
    finish(digest, 'Error', twice, '', seconds)
    count('jobs:error', 1)
    return digest
  end
  call('HDEL', photo, 'started', 'claim', 'stage')
  if call('HEXISTS', photo, 'job') == 0 then
    call('HSET', photo, 'state', 'Uploaded', 'message', message)
  end
  wait(digest)
  return nil
end
"""

# digest, owner, limit, message, model version, upload, file name ('' for none), most file names,
# version of the damage network ('' if damage is not asked for)
# -> `known`, `crowded`, `full`, `open` or `taken`, and the figures for it. Without an upload no
# photo is queued, and `open` means that the photo would be taken.
ACCEPT = """
local digest, owner, upload, damage = ARGV[1], ARGV[2], ARGV[6], ARGV[9]
local photo = P .. 'photo:' .. digest
local state, version, examined, examining = unpack(
  call('HMGET', photo, 'state', 'version', 'damage_version', 'examine'))
local outdated = state == 'Ready' and (version or '') ~= ARGV[5]
-- Without an upload, a worker of a release without damage has ended the job.
if state == 'Ready' and call('EXISTS', P .. 'upload:' .. digest) == 0 then examining = nil end
local is_known = state and state ~= 'Error' and not outdated
local lacks_damage = is_known and damage ~= '' and not examining and examined ~= damage
if lacks_damage and state ~= 'Ready' then
  call('HSET', photo, 'examine', 1)
  if call('ZREM', P .. 'waiting', digest) == 1 then wait(digest) end
  lacks_damage = false
end
if is_known and not lacks_damage then
  local is_new = owner ~= '' and share(digest, owner) or 0
  add_name(digest, owner, ARGV[7], ARGV[8])
  return {'known', is_new}
end
local waiting = count_waiting()
if waiting >= tonumber(ARGV[3]) then
  local seconds = call('HGET', P .. 'counts', 'mean')
  return {'crowded', waiting, call('ZCARD', P .. 'running'), seconds or '0.5'}
end
if not has_room(#upload) then return {'full'} end
if upload == '' then return {'open'} end
local number
if lacks_damage then
  number = examine(digest, upload)
  share(digest, owner)
  keep_notes(digest)
else
  call('SET', P .. 'upload:' .. digest, upload)
  number = add(digest, owner, ARGV[4], damage)
end
add_name(digest, owner, ARGV[7], ARGV[8])
return {'taken', number}
"""

# number, state, message, result, seconds to keep it, model version, summary, `damage` if the result
# has damage, version of the damage network, [name, by]...
# -> 1 if the outcome is stored, 0 if the job has ended or was replaced before
FINISH = """
begin()
local digest = unfinished(ARGV[1])
if not digest then return 0 end
local damage_version = ARGV[8] == 'damage' and ARGV[9] or nil
finish(digest, ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], damage_version)
for i = 10, #ARGV, 2 do
  if ARGV[i] == 'mean' then
    local mean = tonumber(call('HGET', P .. 'counts', 'mean') or ARGV[i + 1])
    call('HSET', P .. 'counts', 'mean', mean + 0.1 * (ARGV[i + 1] - mean))
  else
    count(ARGV[i], ARGV[i + 1])
  end
end
return 1
"""

# owner ('' for all), digest
# -> 0: unknown; 1: deleted for this owner; 2: cancelled too, and its seconds of waiting and of work
FORGET = """
local owner, digest = ARGV[1], ARGV[2]
local owners, photo = P .. 'owners:' .. digest, P .. 'photo:' .. digest
if call('EXISTS', photo) == 0 then return {0} end
if owner ~= '' then
  if call('SREM', owners, owner) == 0 then return {0} end
  call('SREM', P .. 'owned:' .. owner, digest)
  call('HDEL', P .. 'names:' .. digest, owner)
  unmark(digest, owner)
  if call('SCARD', owners) > 0 then return {1} end
end
local accepted, started = unpack(call('HMGET', photo, 'accepted', 'started'))
local open = call('ZSCORE', P .. 'unfinished', digest)
drop(digest)
if not open then return {1} end
count('jobs:cancelled', 1)
local time = now()
return {2, exact((started or time) - accepted), exact(time - (started or time))}
"""

# owner, digest...
# -> for each: number, state, message, stage, position, 1 if damage is asked for and not there,
# version of the damage network, why the last examination failed; false if it is unknown to the
# owner
STATUSES = """
local function standing(digest, owner)
  local number, state, message, stage, examine, damage_version, damage_error = unpack(
    call('HMGET', P .. 'photo:' .. digest, 'number', 'state', 'message', 'stage', 'examine',
         'damage_version', 'damage_error'))
  if not number then return false end
  if owner ~= '' and call('SISMEMBER', P .. 'owners:' .. digest, owner) == 0 then
    return false
  end
  local job = state == 'Uploaded' and (call('ZSCORE', P .. 'waiting', digest)
    or call('ZSCORE', P .. 'waiting:damage', digest))
  local examines = examine
    and (state ~= 'Ready' or call('EXISTS', P .. 'upload:' .. digest) == 1)
  return {number, state, message, stage or '', job and count_waiting(job) or 0, examines and 1 or 0,
          damage_version or '', damage_error or ''}
end
local found = {}
for i = 2, #ARGV do table.insert(found, standing(ARGV[i], ARGV[1])) end
return found
"""

# before, keep -> hashes of the deleted photos, at most 500
EXPIRE = """
local gone = call('ZRANGEBYSCORE', P .. 'ended', '-inf', '(' .. ARGV[1], 'LIMIT', 0, 500)
if #gone == 0 then
  local surplus = call('ZCARD', P .. 'ended') - ARGV[2]
  if surplus > 0 then gone = call('ZRANGE', P .. 'ended', 0, math.min(surplus, 500) - 1) end
end
for _, digest in ipairs(gone) do drop(digest) end
return gone
"""

# -> 1 if there is memory for photos
CHECK = """
if not has_room(0) then return 0 end
call('SET', P .. 'checked', exact(now()))
return 1
"""

# claim, lease, message, message if the upload is gone, seconds to keep that
# -> photos whose upload was gone; then digest, number, seconds it waited, upload, 1 if damage is
# asked for. If no photo waits, all tasks are dropped: a photo accepted later is followed by a new
# task.
CLAIM = """
begin()
local lost = {}
while true do
  local digest = first_waiting()
  if not digest then
    call('DEL', P .. 'celery:photos')
    return {lost}
  end
  local photo, time = P .. 'photo:' .. digest, now()
  local upload = call('GET', P .. 'upload:' .. digest)
  if upload then
    call('ZREM', P .. 'waiting', digest)
    call('ZREM', P .. 'waiting:damage', digest)
    call('HINCRBY', photo, 'attempts', 1)
    if call('HEXISTS', photo, 'job') == 0 then
      call('HSET', photo, 'state', 'Processing', 'message', ARGV[3])
    end
    call('HSET', photo, 'claim', ARGV[1], 'started', exact(time))
    call('ZADD', P .. 'running', exact(time + ARGV[2]), digest)
    local accepted, examine = unpack(call('HMGET', photo, 'accepted', 'examine'))
    return {lost, digest, job_of(digest), exact(time - accepted), upload, examine and 1 or 0}
  end
  finish(digest, 'Error', ARGV[4], '', ARGV[5])
  count('jobs:error', 1)
  table.insert(lost, digest)
end
"""

# digest, claim, lease -> 1 if the claim still holds
RENEW = """
begin()
if call('HGET', P .. 'photo:' .. ARGV[1], 'claim') ~= ARGV[2] then return 0 end
call('ZADD', P .. 'running', 'XX', exact(now() + ARGV[3]), ARGV[1])
return 1
"""

# number, claim, stage -> 1 if the result is still wanted
ADVANCE = """
begin()
local digest = unfinished(ARGV[1])
if not digest then return 0 end
local photo = P .. 'photo:' .. digest
if call('HGET', photo, 'claim') == ARGV[2] then call('HSET', photo, 'stage', ARGV[3]) end
return 1
"""

# start of a claim -> the whole claim, digest, number, seconds it waited
FIND_CLAIM = """
for _, digest in ipairs(call('ZRANGE', P .. 'running', 0, -1)) do
  local claim, accepted, started = unpack(
    call('HMGET', P .. 'photo:' .. digest, 'claim', 'accepted', 'started'))
  if claim and string.sub(claim, 1, #ARGV[1]) == ARGV[1] then
    return {claim, digest, job_of(digest), exact(started - accepted)}
  end
end
"""

# digest, claim, attempts, message, message of the last attempt, seconds to keep that
# -> the digest if it was given up
GIVE_BACK = """
begin()
if call('HGET', P .. 'photo:' .. ARGV[1], 'claim') ~= ARGV[2] then return false end
return lapse(ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
"""

# seconds between two sweeps, lease, attempts, message, message of the last attempt, seconds to keep
# that
# -> 0 if another process has just swept; else 1, number of waiting photos without a task, photos
# that wait again, photos that are given up
SWEEP = """
begin()
local time, pause = now(), tonumber(ARGV[1])
local swept = tonumber(call('GET', P .. 'swept') or 0)
if time - swept < pause * 0.9 then return {0, 0, {}, {}} end
call('SET', P .. 'swept', exact(time))
local back, given_up = {}, {}
if time - swept > 3 * pause then
  -- Redis was away, or nobody was there to renew a lease: each gets another one.
  for _, digest in ipairs(call('ZRANGE', P .. 'running', 0, -1)) do
    call('ZADD', P .. 'running', exact(time + ARGV[2]), digest)
  end
end
for _, digest in ipairs(call('ZRANGEBYSCORE', P .. 'running', '-inf', exact(time))) do
  local ended = lapse(digest, ARGV[3], ARGV[4], ARGV[5], ARGV[6])
  table.insert(ended and given_up or back, digest)
end
call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', exact(time - 3600))
local missing = count_waiting() - call('LLEN', P .. 'celery:photos')
return {1, math.max(missing, 0), back, given_up}
"""

# name
HEARTBEAT = """
begin()
call('ZADD', P .. 'workers', exact(now()), ARGV[1])
"""

# lease -> numbers of waiting photos, of running photos, and of workers seen within the lease
LOAD = """
return {count_waiting(), call('ZCARD', P .. 'running'),
        call('ZCOUNT', P .. 'workers', exact(now() - ARGV[1]), '+inf')}
"""
