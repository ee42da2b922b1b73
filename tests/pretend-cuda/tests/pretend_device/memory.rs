//! More than a device's memory is refused as a GPU refuses it, and what is given back can be used again.

use tch::{Kind, Tensor};

use crate::both_devices::{pretend_device, with_setting};

#[test]
fn beyond_the_limit_is_out_of_memory_and_freed_memory_comes_back() {
    let name = "memory::beyond_the_limit_is_out_of_memory_and_freed_memory_comes_back";
    let limit = ((1 << 20) + 64).to_string();
    with_setting(name, ("PRETEND_CUDA_MEMORY", &limit), || {
        let options = (Kind::Uint8, pretend_device());
        let half = Tensor::zeros([1 << 19], options);
        let rest = Tensor::zeros([1 << 19], options);
        let full = Tensor::f_zeros([1024], options).expect_err("the device is full").to_string();
        assert!(full.contains("CUDA out of memory. Tried to allocate 1024 bytes. GPU 0"), "{full}");
        let computed = half.f_add(&half).expect_err("a result needs memory, too").to_string();
        assert!(computed.contains("CUDA out of memory. Tried to allocate 512.00 KiB"), "{computed}");
        let grown = half.shallow_clone().f_resize_([1 << 20]).expect_err("growth needs memory, too").to_string();
        assert!(grown.contains("CUDA out of memory"), "{grown}");
        drop(rest);
        for _ in 0..10 {
            assert_eq!((&half + 1i64).sum(Kind::Int64).int64_value(&[]), 1 << 19);
        }
    });
}
