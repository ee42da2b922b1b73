//! The coordinator: decides where and when; never touches a tensor.

pub mod config;
pub mod records;
pub mod replica;
pub mod serve;

mod admission;
mod certificates;
mod driver;
mod jobs;
mod rates;
mod rendezvous;
mod session;
