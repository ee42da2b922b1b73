//! What a rank's tensors take, and what the host has left.

use std::{fs, path::Path};

use rewind_job::{Rank, ShardPlan, Tile};

/// Bytes that a rank's tensors take of its device, without activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub without_trajectory: u64,
    pub trajectory: u64,
    /// What the trajectory takes of the host where it waits there: CUDA rounds each snapshot up to a power of two.
    pub pinned: u64,
}

impl Need {
    /// Of a model with `coordinates` weights, of which the rank owns some; `optimiser` and `snapshots` count the numbers
    /// that it keeps for each of its own, `networks` the whole networks that are held at once.
    pub fn of(grid: &[Tile], plan: &ShardPlan, rank: Rank, networks: u64, optimiser: u64, snapshots: u64) -> Self {
        let coordinates: u64 = grid.iter().map(|tile| tile.len as u64).sum();
        let own = plan.range_of(rank, grid).len() as u64;
        let padded = plan.padded_len(grid) as u64 * u64::from(plan.world_size().0);
        Self {
            // Weights, the gradients, and what a reduction or a gather holds: its input and what comes of it.
            without_trajectory: 4 * ((networks + 1) * coordinates + 2 * padded + (optimiser + 1) * own),
            trajectory: 4 * snapshots * own,
            pinned: snapshots * (4 * own).next_power_of_two(),
        }
    }
}

/// What this process may still take of the host's memory: `MemAvailable`, or what its control group has left, if that is
/// less. 0 where the kernel does not tell.
pub(super) fn available_on_host() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    let machine = kibibytes.map_or(0, |kibibytes| kibibytes * 1024);
    let groups = [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")];
    let left = groups.iter().filter_map(|files| left_in_group(Path::new("/sys/fs/cgroup"), *files));
    left.fold(machine, u64::min)
}

/// Bytes that a control group's limit leaves; none where there is no limit.
fn left_in_group(folder: &Path, (limit, used): (&str, &str)) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    Some(number(limit)?.saturating_sub(number(used).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_job::{Layout, WorldSize};

    #[test]
    fn a_need_counts_the_networks_the_state_and_the_snapshots_of_the_own_shard() {
        let layout = Layout::new([("w".to_owned(), vec![64, 128])]);
        let grid = layout.tiles();
        let of = |world| Need::of(&grid, &ShardPlan::balanced(&layout, WorldSize(world)), Rank(0), 2, 2, 15);
        let trajectory = 4 * 15 * 8192;
        assert_eq!(of(1), Need { without_trajectory: 4 * 8192 * (3 + 2 + 3), trajectory, pinned: trajectory });
        let trajectory = 4 * 15 * 4096;
        assert_eq!(of(2), Need { without_trajectory: 4 * (8192 * 5 + 4096 * 3), trajectory, pinned: trajectory });
        let odd = Layout::new([("w".to_owned(), vec![5000])]);
        let odd = Need::of(&odd.tiles(), &ShardPlan::balanced(&odd, WorldSize(1)), Rank(0), 1, 0, 3);
        assert_eq!(odd.pinned, 3 * 32_768, "20,000 bytes are held as 32 KiB");
    }

    #[test]
    fn a_control_group_leaves_what_its_limit_leaves() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = ("memory.max", "memory.current");
        assert_eq!(left_in_group(folder.path(), files), None);
        fs::write(folder.path().join("memory.max"), "max\n").expect("writes");
        assert_eq!(left_in_group(folder.path(), files), None);
        fs::write(folder.path().join("memory.max"), "1000\n").expect("writes");
        fs::write(folder.path().join("memory.current"), "300\n").expect("writes");
        assert_eq!(left_in_group(folder.path(), files), Some(700));
    }
}
