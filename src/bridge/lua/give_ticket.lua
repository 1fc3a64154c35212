-- Keeps what a ticket stands for, if its user may have one more.
--
-- KEYS: the ticket, the tickets that its user was given lately
-- ARGV: what it stands for, for how many milliseconds, how many a user gets in that time
-- Returns: 0, or in how many milliseconds there may be one more.
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then
    return math.max(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] - ms, 1)
end
redis.call('ZADD', KEYS[2], ms + ARGV[2], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
