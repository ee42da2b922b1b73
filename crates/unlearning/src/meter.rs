//! What a step costs.

use std::time::Instant;

use rewind_collective::cuda;
use rewind_job::RoundRecord;
use rustix::time::{ClockId, clock_gettime};
use tch::Device;

use crate::{Gang, UnlearningError};

/// Measures from a step's beginning, over interruptions.
pub struct Meter {
    begun: Instant,
    processor_before: f64,
    device: Device,
    bytes_before: u64,
    so_far: Cost,
}

/// Since the step began; the same on every rank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Rank 0's clock.
    pub seconds: f64,
    /// Bytes rank 0 sent.
    pub bytes_moved: u64,
    /// Processor time of all ranks; of ranks on GPUs the time for which they held them.
    pub device_seconds: f64,
    /// Of the rank that held most: resident memory; on a GPU what its tensors held there.
    pub peak_memory: u64,
}

impl Meter {
    /// `last` is the record of the last round that was done before an interruption.
    pub fn new(gang: &Gang, last: Option<&RoundRecord>) -> Self {
        let device = gang.device();
        match device {
            Device::Cuda(index) => cuda::forget_peak(index),
            _ => forget_peak_memory(),
        }
        let so_far = last.map_or(Cost::default(), |record| Cost {
            seconds: record.seconds,
            bytes_moved: record.bytes_moved,
            device_seconds: record.device_seconds,
            peak_memory: record.peak_memory,
        });
        let bytes_before = gang.bytes_moved();
        Self { begun: Instant::now(), processor_before: processor_seconds(), device, bytes_before, so_far }
    }

    /// # Errors
    /// A lost peer.
    pub fn read(&mut self, gang: &mut Gang) -> Result<Cost, UnlearningError> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let (device_seconds, peak_memory) = match self.device {
            Device::Cuda(index) => (seconds, cuda::peak(index)),
            _ => (processor_seconds() - self.processor_before, peak_memory()),
        };
        let bytes = gang.bytes_moved() - self.bytes_before;
        let own = [seconds, bytes as f64, device_seconds, peak_memory as f64];
        let rows = gang.gather_rows(&own, own.len())?;
        Ok(Cost {
            seconds: self.so_far.seconds + rows[0][0],
            bytes_moved: self.so_far.bytes_moved + rows[0][1] as u64,
            device_seconds: self.so_far.device_seconds + rows.iter().map(|row| row[2]).sum::<f64>(),
            peak_memory: rows.iter().map(|row| row[3] as u64).fold(self.so_far.peak_memory, u64::max),
        })
    }
}

/// Processor time of this process so far.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The kernel's high-water mark of this process's resident memory, in bytes; 0 where the kernel does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.map_or(0, |kibibytes| kibibytes * 1024)
}

/// Sets the high-water mark to what is held now. Where the kernel refuses, the mark is the process's: an upper bound.
fn forget_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_remembers_what_was_freed_and_forgets_when_told() {
        const MANY: usize = 200 << 20;
        forget_peak_memory();
        let before = peak_memory();
        let held = vec![1_u8; MANY];
        assert!(held.iter().all(|&byte| byte == 1));
        drop(held);
        assert!(peak_memory() >= before + MANY as u64 * 9 / 10, "{before} and then {}", peak_memory());
        forget_peak_memory();
        assert!(peak_memory() < before + MANY as u64 / 2);
    }

    #[test]
    fn processor_time_passes_with_work() {
        let before = processor_seconds();
        let begun = Instant::now();
        while processor_seconds() - before < 0.02 {
            assert!(begun.elapsed().as_secs() < 60, "no processor time passes");
        }
    }
}
