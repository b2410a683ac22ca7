-- Make a worker's task the owner of a dispatched chunk.
-- KEYS 1 chunks, 2 owners, 3 losses, 4 attempts, 5 the chunk's own key, 6 traces
-- ARGV 1 chunk id, 2 owner, 3 lease in ms
-- Gives {losses, {entries}, {attempts of each entry}, {trace id of each entry}, now in ms}, or false
-- when the chunk is finished or held.
-- Redis that is full refuses what may need memory, unless its script has written before. So each
-- writes first what frees memory at most: work in hand must be able to end, and end makes room.
redis.call('HDEL', KEYS[2], '')
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return false
end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then
  return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
local entries = redis.call('LRANGE', KEYS[5], 0, -1)
local attempts, traces = {}, {}
for i, entry in ipairs(entries) do
  -- Without the letter of its priority, and without the traceparent that a producer may have added.
  local id = string.match(entry, '^.([^\t]*)')
  attempts[i] = tonumber(redis.call('HGET', KEYS[4], id) or '0')
  -- A post keeps its trace id while it is in hand or waits to be tried again. In a key of its own,
  -- for workers of the version before would take it for a part of the post id.
  local trace = redis.call('HGET', KEYS[6], id)
  if not trace then
    trace = string.sub(redis.sha1hex(ARGV[1] .. ARGV[2] .. time[1] .. time[2] .. id), 1, 32)
    redis.call('HSET', KEYS[6], id, trace)
  end
  traces[i] = trace
end
return {tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0'), entries, attempts, traces, now}
