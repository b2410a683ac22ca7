-- Note how many ids have ever arrived in each list, so that the age of a bare id can be told later.
-- KEYS 1 high, 2 normal, 3 low, 4 taken, 5 arrivals, 6 chunks, 7 retries
-- ARGV 1 prefix of chunk keys, 2 least time between samples in ms, 3 workers that are ready,
--      4 whether the samples are wanted
-- Gives {now in ms, {length of each list}, {taken from each list}, posts in chunks, retries, {samples}}.
-- A sample is `time arrived*3 taken*3 unfinished ready`, the oldest first.
local MOST, KEPT = 1000, 800      -- samples, before and after making room
local NEAR = 0.02                 -- samples may be so far apart, as a part of their age
local HISTORY = 600 * 1000        -- ms for which samples stay although all of their ids are taken

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lengths, taken, arrived = {}, {}, {}
for i, priority in ipairs({'h', 'n', 'l'}) do
  lengths[i] = redis.call('LLEN', KEYS[i])
  taken[i] = tonumber(redis.call('HGET', KEYS[4], priority) or '0')
  arrived[i] = lengths[i] + taken[i]
end
local in_hand = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
  in_hand = in_hand + redis.call('LLEN', ARGV[1] .. id)
end
local retries = redis.call('ZCARD', KEYS[7])

local function read(line)
  local sample = {}
  for number in string.gmatch(line, '%S+') do
    sample[#sample + 1] = tonumber(number)
  end
  return sample
end
local function write(sample)
  return string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f', unpack(sample))
end
local function read_all()
  local samples = redis.call('LRANGE', KEYS[5], 0, -1)
  for i, line in ipairs(samples) do
    samples[i] = read(line)
  end
  return samples
end
local function replace(samples)
  redis.call('DEL', KEYS[5])
  for i, sample in ipairs(samples) do
    redis.call('RPUSH', KEYS[5], write(sample))
  end
end

local last = redis.call('LINDEX', KEYS[5], -1)
last = last and read(last)
if last and #last ~= 9 then
  return redis.error_reply('WRONGTYPE ' .. KEYS[5] .. ' holds what Deadpan did not write')
end
if last then
  -- The clock went back: ages stay right when the samples go back with it.
  local shift = math.min(0, now - last[1])
  -- Ids vanished (DEL, LTRIM): as if from the end of the list, where they are youngest; the age of
  -- the first one is then at most too high, and that of what is pushed from now on is right.
  local vanished = false
  for i = 1, 3 do
    vanished = vanished or arrived[i] < last[1 + i]
  end
  if shift < 0 or vanished then
    local samples = read_all()
    for _, sample in ipairs(samples) do
      sample[1] = sample[1] + shift
      for i = 1, 3 do
        sample[1 + i] = math.min(sample[1 + i], arrived[i])
      end
    end
    replace(samples)
    last[1] = last[1] + shift
  end
end

if not last or now - last[1] >= tonumber(ARGV[2]) then
  redis.call('RPUSH', KEYS[5], write({now, arrived[1], arrived[2], arrived[3],
    taken[1], taken[2], taken[3], in_hand + retries, tonumber(ARGV[3])}))
  if redis.call('LLEN', KEYS[5]) > MOST then
    local samples = read_all()
    -- One sample from before the oldest waiting id is enough.
    local first = 1
    for i, sample in ipairs(samples) do
      local all_taken = sample[2] <= taken[1] and sample[3] <= taken[2] and sample[4] <= taken[3]
      if all_taken and sample[1] < now - HISTORY then
        first = i
      end
    end
    local near = NEAR
    repeat
      -- From the newest back: leave out what the next older one makes up for.
      local kept = {}
      local newer = samples[#samples][1]
      for i = #samples, first, -1 do
        local older = samples[i - 1]
        if i == #samples or i == first or newer - older[1] > near * (now - older[1]) then
          table.insert(kept, 1, samples[i])
          newer = samples[i][1]
        end
      end
      near = near * 2
      samples, first = kept, 1
    until #samples <= KEPT
    replace(samples)
  end
end

local samples = {}
if ARGV[4] == '1' then
  samples = redis.call('LRANGE', KEYS[5], 0, -1)
end
return {now, lengths, taken, in_hand, retries, samples}
