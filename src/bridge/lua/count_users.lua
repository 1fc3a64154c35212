-- Counts the connections of users over all nodes. A node says how many it has, in what is called its contact: the time from one connection to this
-- server to its end. What a contact has said counts until it is silent for too long; each call says that it is there.
--
-- KEYS: the contacts, by when they were last heard; what this one has said: by user, how many connections
-- ARGV: the contact; for how many milliseconds it counts from now on; how many connections a user may have; 1 if it begins, else 0; the node's contact
--       before, if it had one; users, each with the number of its connections on the node
-- Returns: the time, in milliseconds, and for each user how many of them the user may have beside those on the other nodes, and when the one of
--          those nodes was heard that was not heard for longest. Nothing if the contact is not known: then it is to begin anew.
--
-- What other contacts have said is beside what this one has: all of it has the same hash tag.
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local own, prefix = ARGV[1], string.sub(KEYS[2], 1, -#ARGV[1] - 1)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - ARGV[2])
if ARGV[4] == '1' then
    redis.call('DEL', KEYS[2])
    redis.call('ZREM', KEYS[1], ARGV[5])
elseif not redis.call('ZSCORE', KEYS[1], own) then
    return {}
end
redis.call('ZADD', KEYS[1], ms, own)
local contacts, answer = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), {ms}
for at = 6, #ARGV, 2 do
    local user, count = ARGV[at], tonumber(ARGV[at + 1])
    local elsewhere, heard = 0, ms
    for other = 1, #contacts, 2 do
        local there = contacts[other] ~= own and redis.call('HGET', prefix .. contacts[other], user)
        if there then
            elsewhere = elsewhere + there
            heard = math.min(heard, tonumber(contacts[other + 1]))
        end
    end
    local had = tonumber(redis.call('HGET', KEYS[2], user) or 0)
    -- What it had stays, also where the limit is lower by now; and with none elsewhere the node's own count holds.
    local granted = elsewhere == 0 and count or math.min(count, math.max(ARGV[3] - elsewhere, had))
    if granted > 0 then redis.call('HSET', KEYS[2], user, granted) else redis.call('HDEL', KEYS[2], user) end
    answer[#answer + 1] = granted
    answer[#answer + 1] = heard
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return answer
