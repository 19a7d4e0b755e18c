//! What gateways share over Redis: limits and answers. All of it is there to be lost: whoever cannot ask goes on alone.
//!
//! - `link`: the connection, and when it is given up; `probe`: what a new one is tried with; `names`: what things are called.
//! - `answers`: answers, purges of them, and who makes a call that several wait for; `room`: how much answers may take.
//! - `roll`: how many gateways there are.
//! - `bucket`: one question to a bucket, and the script that answers it; `leases`: what gateways ask of their limits, and
//!   `turnstiles`, where requests wait for the answer.

pub mod answers;
pub mod bucket;
pub mod leases;
pub mod link;
pub mod names;
mod probe;
pub mod roll;
pub mod room;
mod turnstiles;
