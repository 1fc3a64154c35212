-- Holds a stream for one node for a while, from now on.
--
-- KEYS: the lease
-- ARGV: the node, milliseconds
-- Returns: 1 if it is the node's, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
