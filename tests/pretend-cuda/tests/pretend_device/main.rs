//! The pretend device does what the CPU does, and refuses what a GPU refuses.

mod both_devices;
mod memory;
mod mixed_devices;
mod network;
mod operations;
