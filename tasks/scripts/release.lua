-- Let go of a chunk whose outcomes are committed; what must be tried again waits in `retries`.
-- KEYS 1 chunks, 2 owners, 3 losses, 4 attempts, 5 retries, 6 the chunk's own key, 7 suspect,
--      8 traces, 9 model-breaks
-- ARGV 1 chunk id, 2 owner, 3 how many the model judged, 4 number of retries, then for each its
--      entry, delay in ms and 1 where it counts as a try (else 0), then the bare ids that are done
-- Gives 1, or 0 when another worker has taken the chunk over, which then sees to all of it.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
-- Redis that is full refuses what may need memory, unless its script has written before. So each
-- writes first what frees memory at most: work in hand must be able to end, and end makes room.
redis.call('HDEL', KEYS[2], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = 4 + 3 * tonumber(ARGV[4])
for i = 5, last, 3 do
  redis.call('ZADD', KEYS[5], now + tonumber(ARGV[i + 1]), ARGV[i])
  if ARGV[i + 2] == '1' then
    redis.call('HINCRBY', KEYS[4], string.match(ARGV[i], '^.([^\t]*)'), 1)
  end
end
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[4], ARGV[i])
  redis.call('HDEL', KEYS[8], string.match(ARGV[i], '^[^\t]*'))
end
if redis.call('GET', KEYS[7]) == ARGV[1] then
  redis.call('DEL', KEYS[7])
end
redis.call('DEL', KEYS[6])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[9], ARGV[1])
if tonumber(ARGV[3]) > 0 then
  redis.call('HINCRBY', KEYS[9], 'judged', ARGV[3])
end
-- Workers of the version before release chunks without removing the traces of their posts.
if redis.call('ZCARD', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[5]) == 0 then
  redis.call('DEL', KEYS[8])
end
return 1
