//! What decides the bits of training on this machine.

use rewind_job::Machine;

/// Describes this machine; `threads` is the job's number of compute threads, `device` the CPU or the GPU's name.
pub fn describe(threads: u32, device: &str) -> Machine {
    Machine {
        threads,
        libtorch: env!("LIBTORCH_VERSION").into(),
        cpu_capability: cpu_capability(),
        device: device.into(),
    }
}

/// libtorch chooses its kernels by this; `ATEN_CPU_CAPABILITY` may lower it.
fn cpu_capability() -> String {
    if let Ok(capability) = std::env::var("ATEN_CPU_CAPABILITY") {
        return capability.to_uppercase();
    }
    let has = |avx512: bool, avx2: bool| match (avx512, avx2) {
        (true, _) => "AVX512",
        (_, true) => "AVX2",
        _ => "DEFAULT",
    };
    #[cfg(target_arch = "x86_64")]
    let capability = has(
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
    );
    #[cfg(not(target_arch = "x86_64"))]
    let capability = has(false, false);
    capability.into()
}
