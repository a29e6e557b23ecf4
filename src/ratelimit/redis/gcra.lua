-- One step of the generic cell rate algorithm, as src/ratelimit/gcra.rs takes it: returns the client's debt before the
-- step, in microseconds, and adds the cost of an allowed step to it. A negative cost gives back. Time is the server's,
-- which is the same for all who ask. Numbers stay below 2^53, up to which Lua counts exactly.
local window, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = tonumber(redis.call('GET', KEYS[1]) or 0)
-- Not more than can be owed: the server's clock may have been set back.
local debt = math.min(math.max(arrival - now, 0), window)
local after = math.max(debt + cost, 0)
if after == 0 then
    redis.call('DEL', KEYS[1])
elseif after <= window then
    redis.call('SET', KEYS[1], string.format('%.0f', now + after), 'PX', string.format('%.0f', math.ceil(after / 1000)))
end
return debt
