//! Tensors that lie on two devices are refused where CUDA's kernels refuse them, and let through where those let them.

use crate::both_devices::{bytes, numbers, pretend_device, whole_numbers, with_setting};
use tch::{Device, Kind, Reduction, Tensor};

const REFUSED: &str = "Expected all tensors to be on the same device";

/// What libtorch says of an operation that it refuses.
fn refusal(name: &str, operation: impl FnOnce() -> Result<Tensor, tch::TchError>) -> String {
    match operation() {
        Ok(result) => panic!("{name} was computed, on {:?}", result.device()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_tensor_left_on_the_cpu_is_refused() {
    let here = numbers(1, &[4, 4]);
    let there = here.to_device(pretend_device());
    let places = whole_numbers(4, &[4]);
    let pictures = numbers(2, &[1, 4, 5, 5]).to_device(pretend_device());
    let filters = numbers(3, &[2, 4, 3, 3]);
    let refusals = [
        ("add", refusal("add", || there.f_add(&here))),
        ("add, the other way", refusal("add", || here.f_add(&there))),
        ("add in place", refusal("add_", || there.copy().f_add_(&here))),
        ("add in place on the CPU", refusal("add_", || here.copy().f_add_(&there))),
        ("where", refusal("where", || there.f_where_self(&there.gt(0.0), &here))),
        ("mm", refusal("mm", || there.f_mm(&here))),
        ("linear", refusal("linear", || there.f_linear(&here, None::<&Tensor>))),
        ("cat", refusal("cat", || Tensor::f_cat(&[&there, &here], 0))),
        ("stack", refusal("stack", || Tensor::f_stack(&[&there, &here], 0))),
        ("index_select", refusal("index_select", || there.f_index_select(0, &places))),
        ("gather", refusal("gather", || there.f_gather(1, &places.unsqueeze(1), false))),
        ("index_add", refusal("index_add", || there.f_index_add(0, &places, &there))),
        ("convolution", refusal("conv2d", || pictures.f_conv2d(&filters, None::<&Tensor>, [1, 1], [0, 0], [1, 1], 1))),
        (
            "norm",
            refusal("layer_norm", || there.f_layer_norm([4], Some(&here.select(0, 0)), None::<&Tensor>, 1e-5, false)),
        ),
        (
            "loss",
            refusal("cross_entropy_loss", || {
                there.f_cross_entropy_loss::<Tensor>(&places, None, Reduction::Mean, -100, 0.0)
            }),
        ),
        ("mean square", refusal("mse_loss", || there.f_mse_loss(&here, Reduction::Mean))),
        ("embedding", refusal("embedding", || Tensor::f_embedding(&there, &places, -1, false, false))),
    ];
    for (name, said) in refusals {
        assert!(said.contains(REFUSED), "{name}: {said}");
        assert!(said.contains("cpu") && said.contains("cuda:0"), "{name}: {said}");
    }
}

#[test]
fn numbers_indices_and_copies_may_come_from_the_cpu() {
    let here = numbers(1, &[4, 4]);
    let there = here.to_device(pretend_device());
    let places = whole_numbers(4, &[3]);
    assert_eq!(bytes(&(&there * Tensor::from(2.0f32))), bytes(&(&here * 2.0)));
    assert_eq!(bytes(&there.index(&[Some(&places)])), bytes(&here.index(&[Some(&places)])));
    let mut target = there.zeros_like();
    target.copy_(&here);
    assert_eq!(bytes(&target), bytes(&here));
    let mut back = here.zeros_like();
    back.copy_(&there);
    assert_eq!((back.device(), bytes(&back)), (Device::Cpu, bytes(&here)));
    assert_eq!(there.double_value(&[1, 2]), here.double_value(&[1, 2]));
}

#[test]
fn a_number_of_the_cpu_is_refused_where_cuda_takes_none() {
    let there = numbers(1, &[4, 4]).to_device(pretend_device());
    let said = refusal("index_select", || there.f_index_select(0, &Tensor::from(1i64)));
    assert!(said.contains(REFUSED), "{said}");
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    pretend_device();
    let said = refusal("zeros", || Tensor::f_zeros([2], (Kind::Float, Device::Cuda(1))));
    assert!(said.contains("invalid device ordinal"), "{said}");
}

#[test]
fn two_devices_do_not_mix_either_and_copies_go_from_one_to_the_other() {
    let name = "mixed_devices::two_devices_do_not_mix_either_and_copies_go_from_one_to_the_other";
    with_setting(name, ("PRETEND_CUDA_DEVICES", "2"), || {
        let here = numbers(1, &[4, 4]);
        let first = here.to_device(pretend_device()).set_requires_grad(true);
        let second = first.to_device(Device::Cuda(1));
        assert_eq!(second.device(), Device::Cuda(1));
        for said in [refusal("add", || first.f_add(&second)), refusal("mm", || first.f_mm(&second))] {
            assert!(said.contains(REFUSED) && said.contains("cuda:0") && said.contains("cuda:1"), "{said}");
        }
        second.square().sum(Kind::Float).backward();
        assert_eq!((first.grad().device(), bytes(&first.grad())), (pretend_device(), bytes(&(here * 2.0))));
    });
}

#[test]
fn what_is_written_on_the_cpu_meets_no_tensor_of_the_device() {
    let there = numbers(1, &[4]).to_device(pretend_device());
    let number = Tensor::from(1.0f32);
    let said = refusal("add_", || number.copy().f_add_(&there.get(0)));
    assert!(said.contains("cpu") && said.contains("cuda:0"), "{said}");
    let said = refusal("masked_fill_", || number.copy().f_masked_fill_tensor_(&there.get(0).gt(0.0), &there.get(1)));
    assert!(said.contains(REFUSED), "{said}");
    let places = whole_numbers(4, &[3]).to_device(pretend_device());
    let said = refusal("index", || numbers(1, &[4]).f_index(&[Some(&places)]));
    assert!(
        said.contains("indices should be either on cpu or on the same device as the indexed tensor (cpu)"),
        "{said}"
    );
    let values = numbers(2, &[3]);
    let said = refusal("index_put_", || numbers(1, &[4]).f_index_put_(&[Some(&places)], &values, false));
    assert!(
        said.contains("indices should be either on cpu or on the same device as the indexed tensor (cpu)"),
        "{said}"
    );
}

#[test]
fn an_operation_without_a_cuda_kernel_has_none_here() {
    let numbers = numbers(1, &[30]);
    let count = |values: &Tensor| values.f_histogram_bin_ct(4, [-2.0, 2.0], None::<Tensor>, false);
    assert!(count(&numbers).is_ok(), "the CPU has one");
    let said = refusal("histogram", || count(&numbers.to_device(pretend_device())).map(|(counts, _)| counts));
    assert!(said.contains("Could not run 'aten::histogram.bin_ct' with arguments from the 'CUDA' backend"), "{said}");
}
