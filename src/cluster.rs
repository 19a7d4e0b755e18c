//! What gateways share over Redis: limits and answers. All of it is there to be lost: whoever cannot ask goes on alone.
//!
//! - `link`: the connection, and when it is given up.
//! - `roll`: how many gateways there are.

pub mod link;
pub mod roll;
