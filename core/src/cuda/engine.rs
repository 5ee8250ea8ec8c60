//! Kernels compiled at run time, launches, products and copies on one device: all that is unsafe.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use cudarc::cublas::sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig};
use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{
    result, CudaDevice, CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, DeviceSlice, LaunchAsync,
    LaunchConfig,
};
use cudarc::nvrtc::{compile_ptx_with_opts, CompileOptions};
use dfdx::prelude::{Cuda, Gradients, Storage};

use super::kernels::{Kernel, Source};
use crate::parallel::lock;
use crate::{Backend, Error, Matrix, Result, Scalar};

/// An element type that kernels are compiled for.
pub(crate) trait Real: Scalar + DeviceRepr {
    /// What it is called in CUDA C++.
    const NAME: &'static str;

    /// The address of the gradient of a tensor that is no view, which is 0 at first.
    fn gradient(gradients: &mut Gradients<Self, Cuda>, tensor: &Matrix<Self, Cuda>) -> Result<u64>
    where
        Cuda: Backend<Self>;

    /// So many products of what lies at these places, one after the other in memory.
    ///
    /// # Safety
    /// They are as large as the configuration says.
    unsafe fn multiply(
        blas: &CudaBlas,
        config: StridedBatchedConfig<Self>,
        places: [u64; 3],
    ) -> Result<()>;
}

macro_rules! real {
    ($type:ty, $name:literal) => {
        impl Real for $type {
            const NAME: &'static str = $name;

            fn gradient(
                gradients: &mut Gradients<Self, Cuda>,
                tensor: &Matrix<Self, Cuda>,
            ) -> Result<u64> {
                let storage = gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                Ok(*storage.device_ptr())
            }

            unsafe fn multiply(
                blas: &CudaBlas,
                config: StridedBatchedConfig<Self>,
                [a, b, c]: [u64; 3],
            ) -> Result<()> {
                let (a, b, mut c) = (Place(a), Place(b), Place(c));
                // SAFETY: see above.
                let done = unsafe {
                    match config.batch_size {
                        1 => blas.gemm(config.gemm, &a, &b, &mut c),
                        _ => blas.gemm_strided_batched(config, &a, &b, &mut c),
                    }
                };
                done.map_err(Error::device)
            }
        }
    };
}

real!(f32, "float");
real!(f64, "double");

/// One device.
pub(crate) struct Engine {
    device: Arc<CudaDevice>,
    blas: CudaBlas,
    /// One call at a time: modules are made once.
    compiling: Mutex<()>,
    /// Whole numbers that were sent once.
    lists: Mutex<Vec<Arc<List>>>,
}

/// Whole numbers on a device, made of others.
pub(crate) struct List {
    numbers: CudaSlice<u32>,
    of: (Weak<[u32]>, usize),
}

impl List {
    /// Where the number of this index is.
    pub fn address(&self, index: usize) -> u64 {
        *self.numbers.device_ptr() + 4 * index as u64
    }
}

/// What a product is made of: `c ← op(a) op(b) + β c`, with c `[rows, columns]` and `inner` terms to a sum; a factor that is transposed
/// is `[inner, rows]` or `[columns, inner]`. All are row-major.
pub(crate) struct Product {
    pub shape: [usize; 3],
    pub a: (u64, bool),
    pub b: (u64, bool),
    pub c: u64,
    pub add: bool,
}

impl Engine {
    /// That of a device; there is one for each.
    pub fn of(device: &Cuda) -> Result<Arc<Self>> {
        static ENGINES: OnceLock<Mutex<HashMap<usize, Arc<Engine>>>> = OnceLock::new();
        // Storage tells its device, and nothing else does.
        let storage = <Cuda as Storage<f32>>::try_alloc_len(device, 1).map_err(Error::device)?;
        let device = storage.device();
        let mut engines = lock(ENGINES.get_or_init(Mutex::default));
        if let Some(engine) = engines.get(&device.ordinal()) {
            return Ok(engine.clone());
        }
        let engine = Arc::new(Self {
            blas: CudaBlas::new(device.clone()).map_err(Error::device)?,
            device,
            compiling: Mutex::default(),
            lists: Mutex::default(),
        });
        engines.insert(engine.device.ordinal(), engine.clone());
        Ok(engine)
    }

    /// Launches a kernel: as many blocks as it says, or none where there is nothing to do.
    pub(super) fn launch<E: Real, K: Kernel>(&self, kernel: K) -> Result<()> {
        let (blocks, threads) = kernel.blocks();
        if blocks == 0 {
            return Ok(());
        }
        let blocks = u32::try_from(blocks).map_err(Error::device)?;
        let source = kernel.source();
        let module = format!("equilibria-{}-{}", source.name, E::NAME);
        let name = kernel.name();
        let function = match self.device.get_func(&module, name) {
            Some(function) => function,
            None => self.compile::<E>(&source, &module, name)?,
        };
        let config = LaunchConfig {
            grid_dim: (blocks, 1, 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the kernel takes one argument, laid out as K says. The addresses in it are those of tensors that are alive, of the sizes
        // that its numbers say: those who make one see to that. All runs on one stream, so memory that is given back meanwhile is used
        // again later only.
        unsafe { function.launch(config, (Argument(kernel.argument()),)) }.map_err(Error::device)
    }

    fn compile<E: Real>(
        &self,
        source: &Source,
        module: &str,
        name: &'static str,
    ) -> Result<cudarc::driver::CudaFunction> {
        let _one = lock(&self.compiling);
        let missing = || Error::Missing {
            what: format!("the kernel `{name}`"),
            remedy: "report this",
        };
        if let Some(function) = self.device.get_func(module, name) {
            return Ok(function);
        }
        let text = format!("typedef {} real;\n{}", E::NAME, source.text);
        // Products and sums round as those of the processor do.
        let options = CompileOptions {
            fmad: Some(false),
            ..CompileOptions::default()
        };
        let ptx = compile_ptx_with_opts(text, options).map_err(Error::device)?;
        (self.device)
            .load_ptx(ptx, module, source.kernels)
            .map_err(Error::device)?;
        self.device.get_func(module, name).ok_or_else(missing)
    }

    /// A product by cuBLAS.
    pub fn product<E: Real>(&self, product: &Product) -> Result<()> {
        self.products::<E>(product, 1)
    }

    /// So many products of matrices that lie one after the other, by one call of cuBLAS.
    pub fn products<E: Real>(&self, product: &Product, count: usize) -> Result<()> {
        let [rows, columns, inner] = product.shape;
        if rows * columns * inner * count == 0 {
            return Ok(());
        }
        let int = |number: usize| i32::try_from(number).map_err(Error::device);
        let operation = |transposed: bool| match transposed {
            false => CUBLAS_OP_N,
            true => CUBLAS_OP_T,
        };
        // cuBLAS goes down the columns: what lies row after row is the transpose to it, and cᵀ = bᵀ aᵀ.
        let gemm = GemmConfig {
            transa: operation(product.b.1),
            transb: operation(product.a.1),
            m: int(columns)?,
            n: int(rows)?,
            k: int(inner)?,
            alpha: E::one(),
            lda: int(if product.b.1 { inner } else { columns })?,
            ldb: int(if product.a.1 { rows } else { inner })?,
            beta: if product.add { E::one() } else { E::zero() },
            ldc: int(columns)?,
        };
        let config = StridedBatchedConfig {
            gemm,
            batch_size: int(count)?,
            stride_a: (columns * inner) as i64,
            stride_b: (rows * inner) as i64,
            stride_c: (rows * columns) as i64,
        };
        let places = [product.b.0, product.a.0, product.c];
        // SAFETY: the factors and the result are as large as `shape` says, see `launch`.
        unsafe { <E as Real>::multiply(&self.blas, config, places) }
    }

    /// Whole numbers that `make` makes of others and of one more number. They are made and sent once, and stay as long as these others do.
    pub fn list(
        &self,
        (of, with): (&Arc<[u32]>, usize),
        make: impl FnOnce() -> Vec<u32>,
    ) -> Result<Arc<List>> {
        let mut lists = lock(&self.lists);
        lists.retain(|list| list.of.0.strong_count() > 0);
        let known = lists.iter().find(|list| {
            let same = std::ptr::addr_eq(list.of.0.as_ptr(), Arc::as_ptr(of));
            same && list.of.1 == with
        });
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let list = Arc::new(List {
            numbers: self.device.htod_copy(make()).map_err(Error::device)?,
            of: (Arc::downgrade(of), with),
        });
        lists.push(list.clone());
        Ok(list)
    }

    /// Copies numbers within the device.
    pub fn copy<E: Real>(&self, from: u64, to: u64, count: usize) -> Result<()> {
        if count == 0 || from == to {
            return Ok(());
        }
        self.device.bind_to_thread().map_err(Error::device)?;
        let (bytes, stream) = (count * size_of::<E>(), *self.device.cu_stream());
        // SAFETY: both places are that large, see `launch`.
        unsafe { result::memcpy_dtod_async(to, from, bytes, stream) }.map_err(Error::device)
    }

    /// Copies numbers to the device.
    pub fn send<T: DeviceRepr>(&self, from: &[T], to: u64) -> Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        self.device.bind_to_thread().map_err(Error::device)?;
        let stream = *self.device.cu_stream();
        // SAFETY: the place is that large, see `launch`; the numbers are read before `synchronize` returns.
        unsafe { result::memcpy_htod_async(to, from, stream) }.map_err(Error::device)?;
        self.device.synchronize().map_err(Error::device)
    }

    /// Copies numbers from the device, and waits for them.
    pub fn receive<T: DeviceRepr>(&self, from: u64, to: &mut [T]) -> Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        self.device.bind_to_thread().map_err(Error::device)?;
        let stream = *self.device.cu_stream();
        // SAFETY: the place is that large, see `launch`; the numbers are written before `synchronize` returns.
        unsafe { result::memcpy_dtoh_async(to, from, stream) }.map_err(Error::device)?;
        self.device.synchronize().map_err(Error::device)
    }
}

/// A kernel's argument, by value.
struct Argument<A>(A);

// SAFETY: arguments of kernels are `repr(C)` and hold numbers alone, see `Kernel`.
unsafe impl<A: Copy> DeviceRepr for Argument<A> {}

/// A place on the device.
struct Place(CUdeviceptr);

impl<E> DeviceSlice<E> for Place {
    fn len(&self) -> usize {
        0
    }
}

impl<E> DevicePtr<E> for Place {
    fn device_ptr(&self) -> &CUdeviceptr {
        &self.0
    }
}

impl<E> DevicePtrMut<E> for Place {
    fn device_ptr_mut(&mut self) -> &mut CUdeviceptr {
        &mut self.0
    }
}
