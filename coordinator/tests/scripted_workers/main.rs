//! The real coordinator program, spoken to by scripted workers over real connections. No libtorch, no training:
//! these workers say what a worker would say.

mod artifacts;
mod certificates;
mod jobs;
mod losses;
mod observed;
mod on_etcd;
mod program;
mod refusals;
mod sessions;
mod tasks;
mod worker;
