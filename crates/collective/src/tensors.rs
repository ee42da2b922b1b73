//! What a collective asks of its tensors, checked before anything is sent.

use rewind_job::WorldSize;
use tch::{Device, Kind, Tensor};

use crate::{CollectiveError, Operation};

/// Checks that `tensor` may take part in a collective and returns its size in bytes.
pub(crate) fn check(operation: Operation, tensor: &Tensor, device: Device) -> Result<u64, CollectiveError> {
    let wrong = |expected, found| CollectiveError::WrongTensor { operation, expected, found };
    if !tensor.defined() {
        return Err(wrong("defined", "an undefined tensor".to_owned()));
    }
    if tensor.device() != device {
        let found = tensor.device();
        return Err(CollectiveError::WrongDevice { operation, expected: device, found });
    }
    let width = match tensor.kind() {
        Kind::Float => 4,
        Kind::Double | Kind::Int64 => 8,
        other => {
            return Err(wrong("float32, float64 or int64", format!("{other:?}")));
        }
    };
    if tensor.is_sparse() || !tensor.is_contiguous() {
        return Err(wrong("contiguous", format!("a layout of strides {:?}", tensor.stride())));
    }
    Ok(width * tensor.numel() as u64)
}

/// Checks a tensor of one dimension.
pub(crate) fn check_flat(operation: Operation, tensor: &Tensor, device: Device) -> Result<u64, CollectiveError> {
    let bytes = check(operation, tensor, device)?;
    if tensor.dim() != 1 {
        return Err(CollectiveError::WrongShape { operation, expected: "[n]".to_owned(), found: tensor.size() });
    }
    Ok(bytes)
}

/// Checks a tensor that is cut into one slice a rank; returns its bytes and the length of a slice.
pub(crate) fn check_slices(
    operation: Operation,
    tensor: &Tensor,
    device: Device,
    world_size: WorldSize,
) -> Result<(u64, i64), CollectiveError> {
    let bytes = check(operation, tensor, device)?;
    let world = i64::from(world_size.0);
    if tensor.dim() != 1 || tensor.size()[0] % world != 0 {
        return Err(CollectiveError::WrongShape {
            operation,
            expected: format!("[{world} * n]"),
            found: tensor.size(),
        });
    }
    Ok((bytes, tensor.size()[0] / world))
}
