-- All that is known of a room, at one point of the feed.
--
-- KEYS: meta, room, states, waits, the logs of the three lanes
-- ARGV: how many of the newest events of each log
-- Returns: feed, the room's fields, its states, what waits for an acknowledgment, and for each lane how many events its log has, and the newest of them, newest first.
local answer = {redis.call('HGET', KEYS[1], 'feed'), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]), redis.call('HVALS', KEYS[4])}
for lane = 5, 7 do
    answer[#answer + 1] = redis.call('XLEN', KEYS[lane])
    answer[#answer + 1] = redis.call('XREVRANGE', KEYS[lane], '+', '-', 'COUNT', ARGV[1])
end
return answer
