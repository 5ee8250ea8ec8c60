//! Wrappers around a space.

/// Hands the named methods of [`StateSpace`](crate::StateSpace) on to the field `inner`, for a space that wraps another
/// one and changes what is left out. `Coef`, `Result` and `Slot` must be in scope.
#[macro_export]
macro_rules! delegate_to_inner {
    (@ batch) => {
        fn batch(&self) -> usize {
            self.inner.batch()
        }
    };
    (@ dim) => {
        fn dim(&self) -> usize {
            self.inner.dim()
        }
    };
    (@ epsilon) => {
        fn epsilon(&self) -> f64 {
            self.inner.epsilon()
        }
    };
    (@ alloc) => {
        fn alloc(&mut self) -> Result<Slot> {
            self.inner.alloc()
        }
    };
    (@ release) => {
        fn release(&mut self, slot: Slot) {
            self.inner.release(slot);
        }
    };
    (@ apply) => {
        fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
            self.inner.apply(z, out)
        }
    };
    (@ apply_keeping) => {
        fn apply_keeping(&mut self, z: Slot, out: Slot) -> Result<bool> {
            self.inner.apply_keeping(z, out)
        }
    };
    (@ keep_linearization) => {
        fn keep_linearization(&mut self, z: Slot) {
            self.inner.keep_linearization(z);
        }
    };
    (@ allow_rounding) => {
        fn allow_rounding(&mut self, from: usize) -> bool {
            self.inner.allow_rounding(from)
        }
    };
    (@ rounding_errors) => {
        fn rounding_errors(&mut self, errors: &mut [f64]) {
            self.inner.rounding_errors(errors);
        }
    };
    (@ dots) => {
        fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
            self.inner.dots(a, bs, out)
        }
    };
    (@ difference) => {
        fn difference(
            &mut self,
            a: Slot,
            b: Slot,
            out: Slot,
            squares: &mut [f64],
            lengths: &mut [f64],
        ) -> Result<()> {
            self.inner.difference(a, b, out, squares, lengths)
        }
    };
    (@ combine) => {
        fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
            self.inner.combine(out, terms)
        }
    };
    (@ copy_rows) => {
        fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
            self.inner.copy_rows(from, to, rows)
        }
    };
    (@ permute) => {
        fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
            self.inner.permute(swaps, batch)
        }
    };
    (@ fill_normal) => {
        fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
            self.inner.fill_normal(slot, seed)
        }
    };
    (@ write) => {
        fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
            self.inner.write(slot, values)
        }
    };
    (@ read) => {
        fn read(&mut self, slot: Slot) -> Result<Vec<f64>> {
            self.inner.read(slot)
        }
    };
    (@ linearize) => {
        fn linearize(&mut self, z: Slot) -> Result<()> {
            self.inner.linearize(z)
        }
    };
    (@ jvp) => {
        fn jvp(&mut self, v: Slot, out: Slot) -> Result<bool> {
            self.inner.jvp(v, out)
        }
    };
    (@ vjp) => {
        fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
            self.inner.vjp(u, out)
        }
    };
    (@ pull_back) => {
        fn pull_back(&mut self, u: Slot) -> Result<()> {
            self.inner.pull_back(u)
        }
    };
    (@ pull_back_tangent) => {
        fn pull_back_tangent(&mut self, p: Slot, v: Slot, factors: &[f64]) -> Result<bool> {
            self.inner.pull_back_tangent(p, v, factors)
        }
    };
    ($($method:ident),* $(,)?) => { $($crate::delegate_to_inner!(@ $method);)* };
}
