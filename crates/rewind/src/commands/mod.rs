//! One file a command, or a few that belong together.

pub mod compare;
pub mod demo;
pub mod doctor;
pub mod evaluate;
mod follow;
pub mod histories;
pub mod jobs;
pub mod pki;
pub mod predictor;
pub mod report;
mod runs;
mod search;
pub mod submit;
pub mod up;
pub mod verify;
