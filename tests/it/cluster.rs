//! What gateways share over Redis: a real server, and the line to it, which the tests trouble.

mod answers;
mod flights;
mod link;
mod purges;
