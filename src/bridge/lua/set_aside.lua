-- Copies an entry of a stream into the stream of what was refused, with the reason.
--
-- KEYS: the stream, the stream of what was refused
-- ARGV: the entry's id, how many are kept, code, message
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
local fields = {'id', ARGV[1], 'code', ARGV[3], 'message', ARGV[4]}
for _, part in ipairs(entry and entry[2] or {}) do fields[#fields + 1] = part end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', unpack(fields))
return 1
