//! Makes `librewind_cuda.so`, what needs CUDA's own libraries: NCCL's process group and a bound on a device's memory.
//!
//! `make cuda` builds it, with the feature `cuda`; `rewind_collective::cuda` opens it at run time. A crate of its own,
//! because three gigabytes are needed to build it, and nothing else needs them.
