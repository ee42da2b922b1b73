//! The coordinator: decides where and when; never touches a tensor.

pub mod config;
pub mod records;
pub mod replica;
pub mod serve;

mod admission;
mod driver;
mod jobs;
mod rendezvous;
mod session;
