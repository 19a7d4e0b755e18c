//! What Redis does in one step. Each script touches what is one account's, or what is the log's.
//!
//! Calls are counted by account. A count that was lost, as one is that nobody adds to for a month, goes on above the number of
//! the answer that is there. A number that nobody counts to is none.

use redis::Script;

/// All of them.
pub(super) struct Scripts {
    pub(super) find: Script,
    pub(super) put: Script,
    pub(super) log: Script,
    pub(super) news: Script,
    pub(super) board: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
}

impl Scripts {
    /// As they are known there.
    pub(super) fn new() -> Self {
        Self {
            find: Script::new(FIND),
            put: Script::new(PUT),
            log: Script::new(LOG),
            news: Script::new(NEWS),
            board: Script::new(BOARD),
            renew: Script::new(RENEW),
            release: Script::new(RELEASE),
        }
    }
}

/// The first slot's value, or else the others'; the length of one that is more than is asked for, and 0 for nothing.
/// KEYS: slots. ARGV: the most bytes.
const FIND: &str = r"
local left = tonumber(ARGV[1])
local found = {}
for place, key in ipairs(KEYS) do
  local length = redis.call('STRLEN', key)
  if length > 0 and length <= left then
    left = left - length
    found[place] = redis.call('GET', key)
  else
    found[place] = length
  end
  if place == 1 and length > 0 then return found end
end
return found
";

/// Keeps a value, unless its slot has one by a later call, and lets the lock go. 1 if it is kept.
/// KEYS: slot, count of calls, lock, slots that are to be empty. ARGV: major version, rest of the value, milliseconds, number
/// of the call or nothing, holder of the lock or nothing.
const PUT: &str = r"
local there = redis.call('GETRANGE', KEYS[1], 0, 16)
local last = string.sub(there, 1, 1) == ARGV[1] and tonumber(string.sub(there, 2), 16) or 0
if last >= 2 ^ 52 then last = 0 end
local fence = ARGV[4]
if fence == '' then
  local number = redis.call('INCR', KEYS[2])
  if number <= last then
    number = last + 1
    redis.call('SET', KEYS[2], string.format('%d', number))
  end
  redis.call('PEXPIRE', KEYS[2], 2592000000)
  fence = string.format('%016x', number)
end
local is_later = last > (tonumber(fence, 16) or 0)
if not is_later then
  redis.call('SET', KEYS[1], ARGV[1] .. fence .. ARGV[2], 'PX', ARGV[3])
  for place = 4, #KEYS do redis.call('UNLINK', KEYS[place]) end
end
if ARGV[5] ~= '' and redis.call('GET', KEYS[3]) == ARGV[5] then redis.call('DEL', KEYS[3]) end
return is_later and 0 or 1
";

/// Writes a purge into the log; 0 if that is another one.
/// KEYS: head, log. ARGV: which log, purge, the most that are kept.
const LOG: &str = r"
if redis.call('HGET', KEYS[1], 'log') ~= ARGV[1] then return 0 end
redis.call('HINCRBY', KEYS[1], 'number', 1)
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], -ARGV[3], -1)
return 1
";

/// What the log says behind what is known: which log, its number, 1 if the news go on where the known ends, and the purges.
/// A log that lacks something of what was known, or of what it should have, is begun anew.
/// KEYS: head, log. ARGV: the known log or nothing, number, last purge; the name of a new log; the most that are kept.
const NEWS: &str = r"
local log = redis.call('HGET', KEYS[1], 'log')
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or '0')
local known, most = tonumber(ARGV[2]), tonumber(ARGV[5])
local length = redis.call('LLEN', KEYS[2])
local is_whole = log and length == math.min(number, most)
local is_same = log == ARGV[1]
if is_whole and is_same then
  is_whole = known <= number
  if is_whole and known > 0 and known > number - length then
    local last = redis.call('LINDEX', KEYS[2], known - number - 1)
    is_whole = string.sub(last, 1, 32) == ARGV[3]
  end
end
if not is_whole then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'log', ARGV[4], 'number', 0)
  return {ARGV[4], 0, 0, {}}
end
local is_behind = known < number - length or (known > 0 and known == number - length)
if not is_same or is_behind then
  return {log, number, 0, redis.call('LRANGE', KEYS[2], 0, -1)}
end
if known == number then return {log, number, 1, {}} end
return {log, number, 1, redis.call('LRANGE', KEYS[2], known - number, -1)}
";

/// Takes the lock on a call, unless another has it or there is an answer: what is to be done, and a number of a call.
/// KEYS: lock, slot, count of calls. ARGV: holder, milliseconds, number of the call whose answer is of no use.
const BOARD: &str = r"
local there = redis.call('GETRANGE', KEYS[2], 1, 16)
if #there > 0 and there ~= ARGV[3] then return {'landed', there} end
local held = redis.call('GET', KEYS[1])
if held == '-' then return {'unshared', ''} end
if held then return {'waits', ''} end
local number, last = redis.call('INCR', KEYS[3]), tonumber(there, 16) or 0
if number <= last and last < 2 ^ 52 then
  number = last + 1
  redis.call('SET', KEYS[3], string.format('%d', number))
end
redis.call('PEXPIRE', KEYS[3], 2592000000)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'lead', string.format('%016x', number)}
";

/// Keeps a lock for some time more; 0 if it is lost.
/// KEYS: lock. ARGV: holder, milliseconds.
const RENEW: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

/// Lets a lock go; with milliseconds it says so long that there will be no answer to share.
/// KEYS: lock. ARGV: holder, milliseconds or nothing.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], '-', 'PX', ARGV[2])
return 1
";
