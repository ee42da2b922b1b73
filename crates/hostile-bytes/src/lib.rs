//! Valid input, spoilt in seeded ways, for every parser that meets foreign bytes. For tests alone.
//!
//! A [`Parser`] is given valid seeds and a function that reads bytes. Each case takes a seed, spoils it by one to eight
//! [mutations](Mutator), and reads it: the function must answer, with what it read or with a clear refusal, within a
//! bounded time, and with memory that is bounded by the length of what it reads. `HOSTILE_SEED` chooses other cases.
//!
//! Time and memory are those of the thread that calls the parser, and memory is what Rust allocates there: what libtorch
//! takes, and what is read on other threads, as from S3, is not counted. `HOSTILE_SEED` repeats how a seed is spoilt, not
//! the seed: where a test makes new keys (certificates, PEM files, tokens), the bytes that a failure leaves repeat it.

mod mutator;
mod parser;

pub use mutator::Mutator;
pub use parser::{Answer, Parser};
