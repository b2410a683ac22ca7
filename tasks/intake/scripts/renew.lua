-- Renew the leases of chunks in hand.
-- KEYS 1 chunks, 2 owners
-- ARGV 1 lease in ms, then pairs of chunk id and owner
-- Gives the ids of chunks that are no longer held by that owner.
-- Redis that is full refuses what may need memory, unless its script has written before. So each
-- writes first what frees memory at most: work in hand must be able to end, and end makes room.
redis.call('HDEL', KEYS[2], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = {}
for i = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
