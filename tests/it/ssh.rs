//! SSH servers that fail, stall, lie or mean harm: each has its reason, its bounded time, and leaves no socket behind.

mod before_login;
mod evidence;
mod jump;
mod living;
mod login;
mod patience;
mod programs;
mod server;
