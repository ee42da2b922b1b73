//! What control decides, one scenario a test. The promises are checked after every event, in all of them.

mod altered;
mod cancelling;
mod cluster;
mod commits;
mod devices;
mod draining;
mod gangs;
mod losses;
mod random;
mod restarts;
mod retention;
mod stored;
mod tasks;
mod wishes;
