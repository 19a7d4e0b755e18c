-- One question of one replica to one bucket, see bucket.rs. Spans are nanoseconds, and reach at most some days from now:
-- doubles hold them exactly, as they would not hold an instant.
local time = redis.call('TIME')
local server = string.match(tostring(redis), '0x%x+') or '0'
local now_s, now_ns = tonumber(time[1]), tonumber(time[2]) * 1000

local interval, tau, replicas = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch, sequence, known = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local returned, charged, want = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local function whole(number) return string.format('%.0f', number) end

-- Read. What is no text, or does not begin with the number of a form, is no bucket, and is written over like one that is
-- missing; so is one of an epoch or with a number that nobody gives.
local value = redis.pcall('GET', KEYS[1]) or ''
if type(value) == 'table' then
  if not string.match(value.err or '', '^WRONGTYPE') then return value end
  value = ''
end
local form = tonumber(string.match(value, '^(%d+) '))
if form and form > 1 then
  return redis.error_reply('NEWERBUCKET the bucket has form ' .. whole(form) .. ', this build knows 1')
end
local words = form == 1 and '^1 (%d+) (%d+) (%d+) (%d+) (%-?%d+) (%d+) (%w+)' or '^$'
local E, S, tat_s, tat_ns, net, ran_at, kept_by = string.match(value, words)
local debt
E, S = tonumber(E) or 0, tonumber(S) or 0
if ran_at and E < 2 ^ 52 and S < 2 ^ 52 then
  net, ran_at = tonumber(net), tonumber(ran_at)
  debt = math.max(0, (tonumber(tat_s) - now_s) * 1e9 + tonumber(tat_ns) - now_ns)
  -- The clock was set back: nobody waits for what it says.
  if debt > 2 * ran_at then debt = ran_at end
  -- Another rate, the same ratio.
  if ran_at ~= tau then
    debt, net = math.ceil(debt * tau / ran_at), math.ceil(net * tau / ran_at)
  end
else
  E, S = 0, 0
end

-- Notice a loss. `debt - net` is where the bucket was seeded, had nothing been charged since. No two epochs are alike, also
-- of servers that knew nothing of each other: each is the time at which it began.
known = math.min(known, 2 * tau)
local new = math.max(epoch + 1, E + 1, now_s * 1e6 + now_ns / 1e3)
if not debt then
  E, S, debt, net = new, 0, epoch > 0 and known or 0, 0
elseif kept_by ~= server or (epoch == E and sequence > S) then
  E, S, debt, net = new, math.max(sequence, S), math.max(debt, known), 0
elseif epoch > 0 and epoch ~= E and known > 0 then
  debt = math.min(2 * tau, debt + math.max(0, known - (debt - net)))
end

-- Return, charge, grant.
debt, net = math.max(0, debt - returned * interval), net - returned * interval
debt, net = math.min(2 * tau, debt + charged * interval), net + charged * interval
local granted, wait = 0, 0
local room = math.floor((tau - debt) / interval)
if room < 1 then
  wait = debt + interval - tau
elseif want > 0 then
  granted = math.min(want, math.max(1, math.min(1024, math.floor(room / (2 * replicas)))))
  debt, net = debt + granted * interval, net + granted * interval
end

-- Write. A bucket that has long been full is forgotten.
S = S + 1
net = math.max(-4 * tau, math.min(4 * tau, net))
local tat = now_ns + debt
redis.call('SET', KEYS[1], table.concat({ '1', whole(E), whole(S), whole(now_s + math.floor(tat / 1e9)), whole(tat % 1e9),
  whole(net), whole(tau), server }, ' '), 'PX', whole(math.ceil(debt / 1e6) + 10000))
return { 1, E, S, granted, debt, wait }
