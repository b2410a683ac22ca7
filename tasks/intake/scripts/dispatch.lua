-- Take the ids of one chunk in hand, atomically: a chunk that nobody finished comes first, then
-- retries that are due go back to the front of the intake, then waiting ids form a new chunk.
-- Posts whose pictures are to be looked for again go in chunks of their own, one at a time, when nothing
-- else waits, or when they have waited for a minute.
-- KEYS 1 high, 2 normal, 3 low, 4 chunks, 5 owners, 6 losses, 7 retries, 8 suspect, 9 taken, 10 arrivals,
--      11 model-breaks, 12 revisits, 13 revisiting
-- ARGV 1 prefix of chunk keys, 2 id for a new chunk, 3 chunk size, 4 lease in ms, 5 free slots,
--      6… pairs of a chunk this worker has dispatched and the end of its lease as it was dispatched
-- Gives {chunk id, number of posts, "new" | "again" | "split", end of its lease in ms}, or false
-- when there is nothing to do.
-- A new chunk's id ends with when its first ids came, where that is known: .h, .n or .l and server time in ms;
-- or with .revisits, if its posts were judged before.
-- Redis that is full refuses what may need memory, unless its script has written before. So each
-- writes first what frees memory at most: work in hand must be able to end, and end makes room.
redis.call('HDEL', KEYS[5], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local chunk_prefix, new_id = ARGV[1], ARGV[2]
local size, lease, free = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

-- A chunk fills a slot until it is taken. One that was taken and given back has another end, and one
-- whose lease ran out is nobody's: counted here, they would keep this worker from ever taking them.
for i = 6, #ARGV, 2 do
  local due = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[i]) or '0')
  if due > now and due == tonumber(ARGV[i + 1]) and not redis.call('HGET', KEYS[5], ARGV[i]) then
    free = free - 1
  end
end
if free <= 0 then
  return false
end

-- A post that was lost twice and stands alone is a suspect. Suspects go one at a time: what kills
-- its worker takes all that is in hand with it, and the others would be blamed for it each time.
local out = tonumber(redis.call('ZSCORE', KEYS[4], redis.call('GET', KEYS[8]) or '') or '0') > now

for _, expired in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  local key = chunk_prefix .. expired
  local count = redis.call('LLEN', key)
  local how = 'again'
  local losses = tonumber(redis.call('HGET', KEYS[6], expired) or '0')
  -- Only a worker that had taken the chunk can have died of it; a lost message says nothing.
  if redis.call('HEXISTS', KEYS[5], expired) == 1 then
    losses = losses + 1
  end
  local suspect = losses >= 2 and count == 1
  if not (suspect and out) then
    if redis.call('HDEL', KEYS[5], expired) == 1 then
      redis.call('HSET', KEYS[6], expired, losses)
    end
    if suspect then
      redis.call('SET', KEYS[8], expired)
    end
    if losses >= 2 and count > 1 then
      -- Some post may kill whoever holds it: halve the chunk until it stands alone.
      local half = math.floor(count / 2)
      local back = redis.call('LRANGE', key, half, -1)
      new_id = new_id .. string.gsub(expired, '^[^.]*', '')
      redis.call('RPUSH', chunk_prefix .. new_id, unpack(back))
      redis.call('LTRIM', key, 0, half - 1)
      redis.call('ZADD', KEYS[4], now, new_id)
      redis.call('HSET', KEYS[6], new_id, 1, expired, 1)
      local broke = redis.call('HGET', KEYS[11], expired)
      if broke then
        redis.call('HSET', KEYS[11], new_id, broke)
      end
      count, how = half, 'split'
    end
    redis.call('ZADD', KEYS[4], now + lease, expired)
    return {expired, count, how, string.format('%.0f', now + lease)}
  end
end

-- Due revisits, where nobody has some in hand.
local REVISITS, LATE = 16, 60000
local function revisit(late)
  local to = late and now - LATE or now
  local entries = redis.call('ZRANGEBYSCORE', KEYS[12], '-inf', to, 'LIMIT', 0, math.min(REVISITS, size))
  if #entries == 0 or redis.call('ZSCORE', KEYS[4], redis.call('GET', KEYS[13]) or '') then
    return false
  end
  local id = ARGV[2] .. '.revisits'
  redis.call('SET', KEYS[13], id)
  redis.call('RPUSH', chunk_prefix .. id, unpack(entries))
  redis.call('ZADD', KEYS[4], now + lease, id)
  redis.call('ZREM', KEYS[12], unpack(entries))
  return {id, #entries, 'revisit', string.format('%.0f', now + lease)}
end
local late = revisit(true)
if late then
  return late
end

local lists = {h = KEYS[1], n = KEYS[2], l = KEYS[3]}
local due = redis.call('ZRANGEBYSCORE', KEYS[7], '-inf', now, 'LIMIT', 0, size)
-- How many ids have left each list for good: what length + taken was by when tells how old an id is.
local taken = {h = 0, n = 0, l = 0}
for _, entry in ipairs(due) do
  local priority = string.sub(entry, 1, 1)
  redis.call('LPUSH', lists[priority], string.sub(entry, 2))
  redis.call('ZREM', KEYS[7], entry)
  taken[priority] = taken[priority] - 1
end

-- When id number `taken + 1` of a list came: samples tell by when so many had (tasks/intake/arrivals.py).
-- The time of the first such sample, or now where there is none yet: known to about a second.
local function came(place, number)
  local low, high = 0, redis.call('LLEN', KEYS[10])
  while low < high do
    local middle = math.floor((low + high) / 2)
    local sample = {}
    for part in string.gmatch(redis.call('LINDEX', KEYS[10], middle), '%S+') do
      sample[#sample + 1] = tonumber(part)
    end
    if (sample[1 + place] or 0) < number then
      low = middle + 1
    else
      high = middle
    end
  end
  local first = redis.call('LINDEX', KEYS[10], low)
  return first and math.min(now, tonumber(string.match(first, '^%d+')) or now) or now
end
for place, priority in ipairs({'h', 'n', 'l'}) do
  if redis.call('LLEN', KEYS[place]) > 0 then
    local number = tonumber(redis.call('HGET', KEYS[9], priority) or '0') + taken[priority] + 1
    new_id = new_id .. string.format('.%s%.0f', priority, came(place, number))
  end
end

-- High goes first, but every chunk keeps an eighth for normal and a sixteenth for low,
-- so that no flood of ids starves what waits below it.
local low = math.min(redis.call('LLEN', KEYS[3]), math.ceil(size / 16))
local normal = math.min(redis.call('LLEN', KEYS[2]), math.ceil(size / 8))
local key, count = chunk_prefix .. new_id, 0
local function take(priority, at_most)
  if at_most < 1 then
    return
  end
  local ids = redis.call('LPOP', lists[priority], at_most)
  if not ids then
    return
  end
  for i = 1, #ids do
    ids[i] = priority .. ids[i]
  end
  redis.call('RPUSH', key, unpack(ids))
  count = count + #ids
  taken[priority] = taken[priority] + #ids
end
take('h', size - normal - low)
take('n', size - low - count)
take('l', size - count)
if count == 0 then
  return revisit(false)
end
-- At once: Redis undoes nothing when a script fails, and only what is in `chunks` is found again.
redis.call('ZADD', KEYS[4], now + lease, new_id)
for priority, ids in pairs(taken) do
  if ids ~= 0 then
    redis.call('HINCRBY', KEYS[9], priority, ids)
  end
end
return {new_id, count, 'new', string.format('%.0f', now + lease)}
