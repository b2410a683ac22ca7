-- Let go of a chunk whose outcomes are committed, or of all but some of its entries. What must be tried
-- again waits in `retries`; posts whose pictures are to be looked for again wait in `revisits`.
-- KEYS 1 chunks, 2 owners, 3 losses, 4 attempts, 5 retries, 6 the chunk's own key, 7 suspect,
--      8 traces, 9 model-breaks, 10 revisits, 11 revisited
-- ARGV 1 chunk id, 2 owner, 3 how many the model judged, 4 number of retries, 5 of revisits,
--      6 of entries that stay in hand, 7 of waits, then waits before each revisit in ms, for each
--      retry its entry, delay in ms and 1 where it counts as a try (else 0), entries (revisits),
--      entries that stay, the bare ids that are done
-- Gives 1, or 0 when another worker has taken the chunk over, which then sees to all of it.
local MOST_REVISITS = 100000
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
-- Redis that is full refuses what may need memory, unless its script has written before. So each
-- writes first what frees memory at most: work in hand must be able to end, and end makes room.
redis.call('HDEL', KEYS[2], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function id_of(entry)
  return string.match(entry, '^.([^\t]*)')
end
local waits = tonumber(ARGV[7])
local at = 7 + waits
for i = at + 1, at + 3 * tonumber(ARGV[4]), 3 do
  redis.call('ZADD', KEYS[5], now + tonumber(ARGV[i + 1]), ARGV[i])
  if ARGV[i + 2] == '1' then
    redis.call('HINCRBY', KEYS[4], id_of(ARGV[i]), 1)
  end
end
at = at + 3 * tonumber(ARGV[4])
local marked = {}
for i = at + 1, at + tonumber(ARGV[5]) do
  local id = id_of(ARGV[i])
  if not marked[id] and redis.call('ZCARD', KEYS[10]) < MOST_REVISITS then
    local number = redis.call('HINCRBY', KEYS[11], id, 1)
    if number <= waits then
      redis.call('ZADD', KEYS[10], now + tonumber(ARGV[7 + number]), ARGV[i])
      marked[id] = true
    end
  end
end
at = at + tonumber(ARGV[5])
local kept = {}
for i = at + 1, at + tonumber(ARGV[6]) do
  kept[#kept + 1] = ARGV[i]
end
for i = at + #kept + 1, #ARGV do
  redis.call('HDEL', KEYS[4], ARGV[i])
  redis.call('HDEL', KEYS[8], string.match(ARGV[i], '^[^\t]*'))
  if not marked[string.match(ARGV[i], '^[^\t]*')] then
    redis.call('HDEL', KEYS[11], ARGV[i])
  end
end
-- Counted only while the model broke over something that is still in hand.
if tonumber(ARGV[3]) > 0 and redis.call('EXISTS', KEYS[9]) == 1 then
  redis.call('HINCRBY', KEYS[9], 'judged', ARGV[3])
end
if #kept > 0 then
  redis.call('DEL', KEYS[6])
  redis.call('RPUSH', KEYS[6], unpack(kept))
  return 1
end
if redis.call('GET', KEYS[7]) == ARGV[1] then
  redis.call('DEL', KEYS[7])
end
redis.call('DEL', KEYS[6])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[9], ARGV[1])
-- Not HLEN: a worker's Redis user need not have the right to it (docs/security.md).
local left = redis.call('HGETALL', KEYS[9])
if #left == 2 and left[1] == 'judged' then
  redis.call('DEL', KEYS[9])
end
-- Workers of the version before release chunks without removing the traces of their posts.
if redis.call('ZCARD', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[5]) == 0 then
  redis.call('DEL', KEYS[8])
end
return 1
