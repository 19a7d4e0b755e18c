//! What gateways share: real servers, and the lines to them, which the tests trouble.

mod answers;
mod commands;
mod engines;
mod flights;
mod limits;
mod link;
mod patience;
mod purges;
