//! The tiles of Intel's AMX (Sapphire Rapids and later), on Linux.
//!
//! This module has not run: no processor with AMX was at hand. Hence the feature `amx`, off by default. The loop over tiles is tested
//! with tiles in software; what is untested is what is below: detection, permission, and seven instructions.

#![allow(unsafe_code)] // instructions without intrinsics in stable Rust; each use says why it is sound

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use super::tiles::{Tiles, SIDE, SIZE};

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)` allows a process to use tiles (Linux 5.16 and later).
const ARCH_PRCTL: usize = 158;
const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
const XFEATURE_XTILEDATA: usize = 18;

/// The eight tiles of a thread, all of 16 rows of 64 bytes, until this is dropped.
pub struct Amx(());

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl Amx {
    /// `None` where the processor has no bf16 tiles or the kernel does not allow them.
    pub fn new() -> Option<Self> {
        if !is_there() {
            return None;
        }
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row: [0; 16],
            rows: [0; 16],
        };
        configuration.bytes_per_row[..8].fill(4 * SIDE as u16);
        configuration.rows[..8].fill(SIDE as u8);
        // SAFETY: the processor has tiles and the kernel allows them; the configuration is 64 bytes long and a valid one of palette 1.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack)) };
        Some(Self(()))
    }
}

impl Drop for Amx {
    fn drop(&mut self) {
        // SAFETY: there is no value of this type where the instruction is missing.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}

impl Tiles for Amx {
    fn clear<const T: usize>(&mut self) {
        // SAFETY: tiles are configured as long as there is a value of this type; no other code of the program uses them.
        unsafe { asm!("tilezero tmm{}", const T, options(nostack)) };
    }

    fn load<const T: usize>(&mut self, rows: &[u32], stride: usize) {
        assert!(rows.len() >= (SIDE - 1) * stride + SIDE, "16 rows");
        // SAFETY: as for `clear`; all 16 rows of 64 bytes are within the slice.
        unsafe {
            asm!("tileloadd tmm{}, [{} + {}]", const T, in(reg) rows.as_ptr(), in(reg) 4 * stride, options(nostack));
        }
    }

    fn add_product<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: as for `clear`; the three tiles are different ones, of matching shapes.
        unsafe {
            asm!("tdpbf16ps tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack))
        };
    }

    fn store<const T: usize>(&self, sums: &mut [f32; SIZE]) {
        // SAFETY: as for `clear`; the array has 16 rows of 64 bytes.
        unsafe {
            asm!("tilestored [{} + {}], tmm{}", in(reg) sums.as_mut_ptr(), in(reg) 4 * SIDE, const T, options(nostack));
        }
    }
}

/// Whether the processor has tiles of bf16 and the kernel allows them; asked for once.
pub fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    *IS_THERE.get_or_init(|| has_tiles() && is_allowed())
}

/// Leaf 7: bit 22 of edx is AMX-BF16, bit 24 AMX-TILE.
fn has_tiles() -> bool {
    // SAFETY: every x86-64 processor has the instruction. Later compilers ask for no such block.
    #[allow(unused_unsafe)]
    let features = unsafe {
        match __cpuid(0).eax {
            7.. => __cpuid_count(7, 0).edx,
            _ => 0,
        }
    };
    let both = 1 << 22 | 1 << 24;
    features & both == both
}

/// Asks the kernel.
fn is_allowed() -> bool {
    let mut outcome = ARCH_PRCTL;
    // SAFETY: the call changes nothing but the permission; the kernel overwrites rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") outcome, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    outcome == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The system's names of the features, where it tells them.
    #[test]
    fn tiles_are_there_as_the_system_says() {
        let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if let Some(line) = told.lines().find(|line| line.starts_with("flags")) {
            let names: Vec<&str> = line.split_whitespace().collect();
            let expected = ["amx_tile", "amx_bf16"]
                .iter()
                .all(|name| names.contains(name));
            assert_eq!(has_tiles(), expected);
        }
        match Amx::new() {
            Some(_) => assert!(has_tiles()),
            None => eprintln!("no AMX here: its instructions were not run"),
        }
    }
}
