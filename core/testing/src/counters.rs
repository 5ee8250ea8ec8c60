//! What was asked of a CUDA driver that counts.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void, CStr};
use std::ops::Sub;

/// How often the driver was asked for what, and for how many bytes. Only the stand-in of `core/testing/cuda` counts.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernels launched.
    pub launches: u64,
    /// Products by cuBLAS.
    pub products: u64,
    /// Copies to the device.
    pub copies_to: u64,
    /// Their bytes.
    pub bytes_to: u64,
    /// Copies from the device, each of which waits.
    pub copies_back: u64,
    /// Their bytes.
    pub bytes_back: u64,
    /// Copies from one place on the device to another.
    pub copies_within: u64,
    /// Pieces of memory taken.
    pub allocations: u64,
}

impl Counters {
    /// All so far; `None` where the driver does not count.
    pub fn now() -> Option<Self> {
        let found = symbol(c"stand_in_counters");
        // SAFETY: the stand-in has a function of this name, and writes as many numbers as there are fields here.
        let tell: Option<extern "C" fn(*mut Self)> = unsafe { std::mem::transmute(found) };
        let mut counters = Self::default();
        tell?(&mut counters);
        Some(counters)
    }

    /// What `job` asks for.
    pub fn of<R>(job: impl FnOnce() -> R) -> Option<(Self, R)> {
        let before = Self::now()?;
        let result = job();
        Some((Self::now()? - before, result))
    }
}

/// Prints how often each kernel was launched since the last call, where the driver counts.
pub fn print_kernels() {
    // SAFETY: the stand-in has a function of this name without arguments.
    let print: Option<extern "C" fn()> =
        unsafe { std::mem::transmute(symbol(c"stand_in_print_kernels")) };
    if let Some(print) = print {
        print();
    }
}

/// Lets blocks, and threads of a block, run from the last to the first, or from the first to the last again, where the driver can: whether
/// it can.
pub fn run_backwards(yes: bool) -> bool {
    // SAFETY: the stand-in has a function of this name with this argument.
    let run: Option<extern "C" fn(i32)> =
        unsafe { std::mem::transmute(symbol(c"stand_in_run_backwards")) };
    run.is_some_and(|run| {
        run(i32::from(yes));
        true
    })
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            launches: self.launches - earlier.launches,
            products: self.products - earlier.products,
            copies_to: self.copies_to - earlier.copies_to,
            bytes_to: self.bytes_to - earlier.bytes_to,
            copies_back: self.copies_back - earlier.copies_back,
            bytes_back: self.bytes_back - earlier.bytes_back,
            copies_within: self.copies_within - earlier.copies_within,
            allocations: self.allocations - earlier.allocations,
        }
    }
}

/// The address of a function of any library that is loaded; null if there is none.
#[cfg(unix)]
fn symbol(name: &CStr) -> *mut c_void {
    extern "C" {
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    // SAFETY: the name ends with a zero; without a library all are searched.
    unsafe { dlsym(std::ptr::null_mut(), name.as_ptr()) }
}

#[cfg(not(unix))]
fn symbol(_: &CStr) -> *mut c_void {
    std::ptr::null_mut()
}
