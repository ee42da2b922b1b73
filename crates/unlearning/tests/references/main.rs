//! Ours beside an independent reference in plain PyTorch and NumPy (tests/reference of the workspace), written from
//! the papers by somebody who had not read ours. Whatever is drawn is drawn here and handed over in files: how it is
//! drawn is tested elsewhere, by its distribution.
//!
//! Each comparison is trusted because it fails when a fault is planted in the reference: a wrong sign, a missing mask,
//! a shifted schedule. A new case is a row in a table.

mod attacks;
mod augmentations;
mod batch_norms;
mod drawing;
mod drawn;
mod faults;
mod forward;
mod methods;
mod networks;
mod optimisers;
mod predictors;
mod reference;
mod schedules;
mod scores;
mod table;
