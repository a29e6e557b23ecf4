-- One step of the generic cell rate algorithm, as in src/ratelimit/gcra.rs: returns the client's debt before the step, in
-- microseconds, and adds the cost of an allowed step. A negative cost returns units. Time is the clock of the Redis
-- server, which is the same for all processes. Numbers stay below 2^53, so that Lua's doubles are exact.
local window, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = tonumber(redis.call('GET', KEYS[1]) or 0)
-- At most the window: the server's clock may have been set back.
local debt = math.min(math.max(arrival - now, 0), window)
local after = math.max(debt + cost, 0)
if after == 0 then
    redis.call('DEL', KEYS[1])
elseif after <= window then
    redis.call('SET', KEYS[1], string.format('%.0f', now + after), 'PX', string.format('%.0f', math.ceil(after / 1000)))
end
return debt
