-- Numbers a batch of events, keeps them, and puts them into the feeds of their shards: all of it, or nothing.
--
-- KEYS: the node's last answer; then for each shard: meta, feed, rooms, and for each of its events: room, log, states, id, waits
-- ARGV: the batch's name, events in a feed, keys of a room, milliseconds that ids are remembered, rooms of a shard; then for each shard how
--       many events, and for each:
--       mode (s: stream, k: state, t: transient), lane (0 to 2), type and key of a state, owner, whether it has an id, version, what a late
--       joiner gets unasked, events in the log, where `data` begins in the body, the room's name,
--       0, or the rev of a state that a node has changed by itself, the body, until when it waits for an acknowledgment (0: it does not),
--       its `event_id`
-- Returns: the batch's name, and for each shard its epoch's number and name, and a word for each event, all with spaces between:
--       a: accepted, d: seen before, s: stale, u: unchanged, each with s, k or t and the number; o: another's room, c: a state of another
--       lane, f: too many keys, r: too many rooms
local KEYS_SHARD, KEYS_EACH, FIXED_ARGS, ARGS_EACH = 3, 5, 5, 14
local STARTS_MAX = 32

-- Sent again because the answer was lost: it is the same answer.
local last = redis.call('GET', KEYS[1])
if last and string.sub(last, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then return last end

-- Where each shard's keys and arguments begin. All are looked at before anything is written.
local shards, key, arg = {}, 2, FIXED_ARGS + 1
while arg <= #ARGV do
    local meta = redis.call('HMGET', KEYS[key], 'epoch', 'name', 'feed')
    if not meta[1] then return redis.error_reply('NOEPOCH a shard has no epoch') end
    local events = tonumber(ARGV[arg])
    shards[#shards + 1] = {key = key, arg = arg + 1, events = events, epoch = meta[1], name = meta[2], feed = tonumber(meta[3])}
    key, arg = key + KEYS_SHARD + events * KEYS_EACH, arg + 1 + events * ARGS_EACH
end

local answer = {ARGV[1]}
local feed_max, keys_max, id_ms, rooms_max = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
-- Of the shard whose turn it is.
local epoch, feed, feed_key, rooms_key

-- The epochs in which the lane had events, with the first number of each, and with one more.
local function started(starts, seq)
    if not starts then return epoch .. ':' .. seq end
    if string.match(starts, '(%d+):%d+$') == epoch then return nil end
    local count = select(2, string.gsub(starts, ':', ''))
    if count >= STARTS_MAX then starts = string.gsub(starts, '^[^,]*,', '') end
    return starts .. ',' .. epoch .. ':' .. seq
end

local function to_feed(number, oldest, body)
    feed = feed + 1
    redis.call('XADD', feed_key, 'MAXLEN', '~', feed_max, feed .. '-0', 'b', number .. '\0' .. oldest .. '\0' .. epoch .. '\0' .. body)
end

local function append(k, a)
    local mode, lane, state, owner, has_id, version, history, log_max, data_at, room, alone, body, wait_until, event_id = unpack(ARGV, a, a + ARGS_EACH - 1)
    local known = redis.call('HMGET', KEYS[k], 'born', 'owner', 'h' .. lane, 'e' .. lane, 'y' .. lane)
    if owner ~= '' and known[2] and known[2] ~= owner then return 'o' end
    -- Those that the daemon itself needs must be there.
    local is_own = room == 'system:acks' or room == 'system:alerts'
    if not known[1] and not is_own and redis.call('SCARD', rooms_key) >= rooms_max then return 'r' end
    if has_id == '1' then
        local seen = redis.call('GET', KEYS[k + 3])
        if seen then return 'd' .. seen end
    end
    if wait_until ~= '0' then
        -- One that waits is remembered for as long.
        local waits = redis.call('HGET', KEYS[k + 4], event_id)
        if waits then return 'ds' .. string.match(waits, '^%d+') end
    end

    local number, oldest, changes = 0, 0, {}
    if mode == 'k' then
        local before, rev, known_version = redis.call('HGET', KEYS[k + 2], state), 0, ''
        local data = string.sub(body, data_at + 1)
        if before then
            local of_lane, of_rev, of_version, at = string.match(before, '^(%d) (%d+) (%d*) %d+ ()')
            if of_lane ~= lane then return 'c' end
            rev, known_version = tonumber(of_rev), of_version
            -- Numbers beyond 2^53 are compared as text: without leading zeros the longer one is the greater.
            local is_newer = #version > #known_version or (#version == #known_version and version > known_version)
            if version ~= '' and known_version ~= '' and not is_newer then
                if alone == '0' then return 'sk' .. rev end
                -- What is known is newer than what the node has: it is told again, above that.
                data, version = string.sub(before, at), known_version
                body = string.sub(body, 1, data_at) .. data
            end
            if alone == '0' and string.sub(before, at) == data then return 'uk' .. rev end
        elseif alone == '0' and data == 'null' and version == '' then
            return 'uk0'
        elseif redis.call('HLEN', KEYS[k + 2]) >= keys_max then
            return 'f'
        end
        number = math.max(rev, tonumber(alone)) + 1
        if version == '' then version = known_version end
        local ts = string.match(body, '^(%d+)')
        redis.call('HSET', KEYS[k + 2], state, lane .. ' ' .. number .. ' ' .. version .. ' ' .. ts .. ' ' .. data)
    elseif mode == 's' then
        number = tonumber(known[3] or 0) + 1
        changes = {'h' .. lane, number}
        local starts = started(known[4], number)
        if starts then changes[3], changes[4] = 'e' .. lane, starts end
        if tonumber(history) > tonumber(known[5] or 0) then
            changes[#changes + 1] = 'y' .. lane
            changes[#changes + 1] = history
        end
        redis.call('XADD', KEYS[k + 1], 'MAXLEN', log_max, number .. '-0', 'b', body)
        oldest = number + 1 - redis.call('XLEN', KEYS[k + 1])
        if wait_until ~= '0' then
            redis.call('HSET', KEYS[k + 4], event_id, number .. '\0' .. epoch .. '\0' .. wait_until .. '\0' .. body)
        end
    end

    if not known[1] then
        redis.call('SADD', rooms_key, room)
        changes[#changes + 1] = 'born'
        changes[#changes + 1] = epoch
    end
    if owner ~= '' and not known[2] then
        changes[#changes + 1] = 'owner'
        changes[#changes + 1] = owner
    end
    if #changes > 0 then redis.call('HSET', KEYS[k], unpack(changes)) end
    if has_id == '1' then redis.call('SET', KEYS[k + 3], mode .. number, 'PX', id_ms) end
    to_feed(number, oldest, body)
    return 'a' .. mode .. number
end

for _, shard in ipairs(shards) do
    epoch, feed, feed_key, rooms_key = shard.epoch, shard.feed, KEYS[shard.key + 1], KEYS[shard.key + 2]
    answer[#answer + 1] = epoch
    answer[#answer + 1] = shard.name
    for event = 0, shard.events - 1 do
        answer[#answer + 1] = append(shard.key + KEYS_SHARD + event * KEYS_EACH, shard.arg + event * ARGS_EACH)
    end
    redis.call('HSET', KEYS[shard.key], 'feed', feed)
end
local text = table.concat(answer, ' ')
redis.call('SET', KEYS[1], text, 'PX', 600000)
return text
