-- Give a chunk back unfinished: it is dispatched again after a delay, by any worker.
-- KEYS 1 chunks, 2 owners, 3 losses, 4 suspect
-- ARGV 1 chunk id, 2 owner, 3 delay in ms, 4 losses to add
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
if tonumber(ARGV[4]) > 0 then
  redis.call('HINCRBY', KEYS[3], ARGV[1], ARGV[4])
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
return 1
