-- Push ids of a backfill and note how far it has come: both, or neither.
-- KEYS 1 high, 2 normal, 3 low, 4 backfills
-- ARGV 1 which list to push onto, 2 how many ids may wait (0: any number), 3 name of the backfill or '',
--      4 how far it had come, 5 how far it has come now ('': it is done), 6… ids
-- Gives {what, ids that wait, how far it has come}; what is 1 when pushed, 0 when too many wait, and
-- -1 when the backfill is not where the caller left it.
local waiting = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2]) + redis.call('LLEN', KEYS[3])
local name, most, ids = ARGV[3], tonumber(ARGV[2]), #ARGV - 5
if name ~= '' then
  local come = redis.call('HGET', KEYS[4], name) or ''
  if come ~= ARGV[4] then
    return {-1, waiting, come}
  end
end
if ids > 0 and most > 0 and waiting + ids > most then
  return {0, waiting, ''}
end
if ids > 0 then
  redis.call('RPUSH', KEYS[tonumber(ARGV[1])], unpack(ARGV, 6))
end
if name ~= '' then
  if ARGV[5] == '' then
    redis.call('HDEL', KEYS[4], name)
  else
    redis.call('HSET', KEYS[4], name, ARGV[5])
  end
end
return {1, waiting + ids, ''}
