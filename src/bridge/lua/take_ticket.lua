-- Gives a ticket up: whoever comes next finds none.
--
-- KEYS: the ticket
-- Returns: what it stood for, nil if there is none.
local kept = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return kept
