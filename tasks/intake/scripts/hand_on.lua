-- Let others have, at once, chunks that were dispatched and that nobody has taken.
-- KEYS 1 chunks, 2 owners
-- ARGV chunk ids
-- Gives how many there were.
-- Redis that is full refuses what may need memory, unless its script has written before. So each
-- writes first what frees memory at most: work in hand must be able to end, and end makes room.
redis.call('HDEL', KEYS[2], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZSCORE', KEYS[1], id) and not redis.call('HGET', KEYS[2], id) then
    redis.call('ZADD', KEYS[1], now, id)
    count = count + 1
  end
end
return count
