-- A node has come to this server. What it knows is of another run of it, or of another server, if that run's id is not the one that is kept:
-- writes may be lost, so that numbers from now on count in a new epoch.
--
-- KEYS: meta, epochs
-- ARGV: the server's run id, the name of the epoch if one is to be begun, the least number of it
-- Returns: epoch, name, feed, and all epochs as "number name blank".
local known = redis.call('HMGET', KEYS[1], 'epoch', 'run')
if known[2] ~= ARGV[1] then
    local number = math.max(tonumber(known[1] or 0) + 1, tonumber(ARGV[3]))
    local blank = known[1] and 0 or 1
    if blank == 1 then
        redis.call('DEL', KEYS[2])
        redis.call('HSET', KEYS[1], 'feed', 0)
    end
    redis.call('HSET', KEYS[1], 'epoch', number, 'run', ARGV[1], 'name', ARGV[2])
    redis.call('RPUSH', KEYS[2], number .. ' ' .. ARGV[2] .. ' ' .. blank)
    redis.call('LTRIM', KEYS[2], -1024, -1)
end
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'name', 'feed')
return {meta[1], meta[2], meta[3], redis.call('LRANGE', KEYS[2], 0, -1)}
