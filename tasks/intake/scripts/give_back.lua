-- Give a chunk back unfinished: it is dispatched again after a delay, by any worker.
-- KEYS 1 chunks, 2 owners, 3 losses, 4 suspect, 5 model-breaks, 6 the chunk's own key
-- ARGV 1 chunk id, 2 owner, 3 delay in ms, 4 losses to add, 5 1 where the model broke over it,
--      6 longest delay in ms
-- Gives 1, or 0 when another worker has taken the chunk over.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('GET', KEYS[4]) == ARGV[1] then
  redis.call('DEL', KEYS[4])
end
local delay, losses = tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[5] == '1' then
  -- Several posts are halved: that costs none of them a try. One alone is to blame only where, since
  -- the model first broke over it (or over the chunk that it is a part of), it judged others, here
  -- or elsewhere. Until then it goes back ever later, so that others have their turn before it.
  local judged = tonumber(redis.call('HGET', KEYS[5], 'judged') or '0')
  local first, times = string.match(redis.call('HGET', KEYS[5], ARGV[1]) or '', '^(%d+) (%d+)$')
  first, times = math.min(tonumber(first or judged), judged), tonumber(times or '0')
  if redis.call('LLEN', KEYS[6]) > 1 or judged > first then
    losses = 1
  else
    delay = math.min(delay * 2 ^ math.min(times, 30), tonumber(ARGV[6]))
    times = times + 1
  end
  redis.call('HSET', KEYS[5], ARGV[1], string.format('%.0f %.0f', first, times))
end
if losses > 0 then
  redis.call('HINCRBY', KEYS[3], ARGV[1], losses)
end
redis.call('ZADD', KEYS[1], now + math.floor(delay), ARGV[1])
return 1
