//! What a new connection to Redis is tried with: all that scripts do there, so that a server that is full, that is a copy of
//! another, or that lets its user do only some of it is found out at once, and says why.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};

use crate::cluster::names::Names;

/// What is written for it is there for so long.
const LEFT_FOR: Duration = Duration::from_secs(10);

/// Does all that scripts do, with a name of its own. KEYS: that name. ARGV: milliseconds until it is gone.
const SCRIPT: &str = r"
local key = KEYS[1]
local function call(name, ...)
  local answer = redis.pcall(name, ...)
  if type(answer) == 'table' and answer.err then error({err = name .. ': ' .. answer.err}) end
end
call('UNLINK', key)
call('TIME')
call('SET', key, '1', 'PX', ARGV[1])
call('INCR', key)
call('GET', key)
call('STRLEN', key)
call('GETRANGE', key, 0, 0)
call('DEL', key)
call('HSET', key, 'number', '1')
call('HINCRBY', key, 'number', 1)
call('HGET', key, 'number')
call('DEL', key)
call('RPUSH', key, '1', '2')
call('LTRIM', key, -1, -1)
call('LLEN', key)
call('LINDEX', key, 0)
call('LRANGE', key, 0, -1)
call('DEL', key)
call('ZADD', key, 1, '1')
call('ZREM', key, '2')
call('ZREMRANGEBYSCORE', key, '-inf', 0)
call('ZCARD', key)
call('PEXPIRE', key, ARGV[1])
return 1
";

/// The script.
pub(super) struct Probe(Script);

impl Probe {
    /// As it is known there.
    pub(super) fn new() -> Self {
        Self(Script::new(SCRIPT))
    }

    /// Does it once.
    pub(super) async fn ask(
        &self,
        over: &mut MultiplexedConnection,
        names: &Names,
    ) -> Result<(), RedisError> {
        let mut call = self.0.key(names.probe());
        call.arg(LEFT_FOR.as_millis() as u64);
        call.invoke_async::<u64>(over).await.map(drop)
    }
}
