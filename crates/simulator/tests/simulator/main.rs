//! The running simulator, over loopback HTTP, as its users see it.

mod api;
mod control;
mod faults;
mod open_messaging;
mod program;
mod sender;
mod sink;
mod support;
