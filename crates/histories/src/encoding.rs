use half::bf16;
use serde::{Deserialize, Serialize};

/// How the snapshots after the first are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// 2 bytes a coordinate and snapshot: differences, each to the reconstructed snapshot before. A snapshot is off by
    /// at most 1/256 of its difference (0.002 as root mean square), and by the last bit of float32; errors do not add up.
    #[default]
    Bfloat16Differences,
    /// 4 bytes a coordinate and snapshot, bit for bit.
    Float32Snapshots,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bfloat16Differences => "bfloat16-differences",
            Self::Float32Snapshots => "float32-snapshots",
        }
    }
}

/// The difference from `reconstructed` to `next`, `[kept]`; moves `reconstructed` by it.
///
/// # Errors
/// The coordinate whose difference is beyond bfloat16.
pub(crate) fn difference(reconstructed: &mut [f32], next: &[f32]) -> Result<Vec<bf16>, usize> {
    let pairs = reconstructed.iter_mut().zip(next).enumerate();
    pairs
        .map(|(at, (reconstructed, next))| {
            let difference = bf16::from_f32(next - *reconstructed);
            *reconstructed += difference.to_f32();
            if difference.is_finite() && reconstructed.is_finite() { Ok(difference) } else { Err(at) }
        })
        .collect()
}

/// The snapshot that lies `differences` after `reconstructed`, `[kept]`.
pub(crate) fn next(reconstructed: &[f32], differences: &[bf16]) -> Vec<f32> {
    reconstructed.iter().zip(differences).map(|(weight, difference)| weight + difference.to_f32()).collect()
}
