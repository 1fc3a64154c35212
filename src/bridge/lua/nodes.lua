-- Says that a node is there, for a while from now on, or that it is not any more, and which are.
--
-- KEYS: the nodes
-- ARGV: what the node says of itself; for how many milliseconds, 0: not any more
-- Returns: what each node that is there says of itself.
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREM', KEYS[1], ARGV[1])
if tonumber(ARGV[2]) > 0 then redis.call('ZADD', KEYS[1], ms + ARGV[2], ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms)
return redis.call('ZRANGE', KEYS[1], 0, -1)
