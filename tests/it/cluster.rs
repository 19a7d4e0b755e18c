//! What gateways share over Redis: a real server, and the line to it, which the tests trouble.

mod commands;
mod engines;
mod limits;
mod link;
