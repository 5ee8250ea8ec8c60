//! The elementary maps that problems are composed of, one row at a time.

use equilibria_core::Scalar;

/// An elementary map of one row z of `dim` numbers. Some take the row's share x of an injected input.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage<E> {
    /// z ↦ z M, with M `[dim, dim]`, row-major.
    Linear(Vec<E>),
    /// z ↦ z + x.
    Shift,
    /// z ↦ x ⊙ z.
    Scale,
    /// z ↦ (z + x / z) / 2, entry by entry: Heron's step towards √x.
    Heron,
    /// One function for every entry.
    Each(Function),
    /// z ↦ (z − mean z) / √(var z + ε), the group normalization of one group.
    Normalize,
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// tanh t.
    Tanh,
    /// max(t, 0), with slope 0 at 0. Takes NaN for 0, as dfdx does.
    Relu,
    /// |t|, with slope 0 at 0.
    Abs,
    /// cos t.
    Cos,
    /// √t: NaN for t < 0.
    Sqrt,
    /// t + 1 / (1 + t²).
    Drift,
}

/// ε of [`Stage::Normalize`], in units of z².
pub(super) const EPSILON: f64 = 1e-5;

impl Function {
    fn value<E: Scalar>(self, t: E) -> E {
        match self {
            Self::Tanh => t.tanh(),
            Self::Relu => t.max(E::zero()),
            Self::Abs => t.abs(),
            Self::Cos => t.cos(),
            Self::Sqrt => t.sqrt(),
            Self::Drift => t + (t * t + E::one()).recip(),
        }
    }

    fn slope<E: Scalar>(self, t: E) -> E {
        let (zero, one, two) = (E::zero(), E::one(), E::of(2.0));
        match self {
            Self::Tanh => one - t.tanh() * t.tanh(),
            Self::Relu if t > zero => one,
            Self::Abs if t > zero => one,
            Self::Abs if t < zero => -one,
            Self::Relu | Self::Abs => zero,
            Self::Cos => -t.sin(),
            Self::Sqrt => (two * t.sqrt()).recip(),
            Self::Drift => one - two * t * (t * t + one).powi(-2),
        }
    }

    /// The second derivative.
    fn bend<E: Scalar>(self, t: E) -> E {
        let (one, two) = (E::one(), E::of(2.0));
        match self {
            Self::Tanh => -two * t.tanh() * self.slope(t),
            Self::Relu | Self::Abs => E::zero(),
            Self::Cos => -t.cos(),
            Self::Sqrt => -self.slope(t) / (two * t),
            Self::Drift => {
                let square = t * t + one;
                (E::of(8.0) * t * t / square - two) * square.powi(-2)
            }
        }
    }
}

impl<E: Scalar> Stage<E> {
    /// Whether the stage takes an injected input.
    pub fn takes_input(&self) -> bool {
        matches!(self, Self::Shift | Self::Scale | Self::Heron)
    }

    /// The same stage, rounded to another element type.
    pub fn cast<F: Scalar>(&self) -> Stage<F> {
        match self {
            Self::Linear(m) => Stage::Linear(m.iter().map(|m| F::of(m.wide())).collect()),
            Self::Shift => Stage::Shift,
            Self::Scale => Stage::Scale,
            Self::Heron => Stage::Heron,
            Self::Each(function) => Stage::Each(*function),
            Self::Normalize => Stage::Normalize,
        }
    }

    /// `out` = the map at `z`; `x` is the row's share of the input, empty for stages that take none.
    pub fn value(&self, z: &[E], x: &[E], out: &mut [E]) {
        let pairs = z.iter().zip(x);
        match self {
            Self::Linear(m) => times(z, m, out),
            Self::Shift => fill(out, pairs.map(|(&z, &x)| z + x)),
            Self::Scale => fill(out, pairs.map(|(&z, &x)| z * x)),
            Self::Heron => fill(out, pairs.map(|(&z, &x)| (z + x / z) * E::of(0.5))),
            Self::Each(function) => fill(out, z.iter().map(|&z| function.value(z))),
            Self::Normalize => {
                let (mean, deviation) = moments(z);
                fill(out, z.iter().map(|&z| (z - mean) / deviation));
            }
        }
    }

    /// `out` = J v, with J the Jacobian at `z`.
    pub fn push(&self, z: &[E], x: &[E], v: &[E], out: &mut [E]) {
        match self {
            Self::Linear(m) => times(v, m, out),
            _ => self.pull(z, x, v, out),
        }
    }

    /// `out` = Jᵀ u. Every Jacobian but that of [`Stage::Linear`] is symmetric.
    pub fn pull(&self, z: &[E], x: &[E], u: &[E], out: &mut [E]) {
        let pairs = z.iter().zip(u);
        match self {
            Self::Linear(m) => {
                let rows = m.chunks_exact(z.len());
                fill(out, rows.map(|row| dot(row, u)));
            }
            Self::Shift => out.copy_from_slice(u),
            Self::Scale => fill(out, u.iter().zip(x).map(|(&u, &x)| u * x)),
            Self::Heron => {
                let slope = |z: E, x: E| (E::one() - x / (z * z)) * E::of(0.5);
                fill(out, pairs.zip(x).map(|((&z, &u), &x)| u * slope(z, x)));
            }
            Self::Each(function) => fill(out, pairs.map(|(&z, &u)| u * function.slope(z))),
            Self::Normalize => {
                let (mean, deviation) = moments(z);
                let count = E::of(z.len() as f64);
                let normal = |z: E| (z - mean) / deviation;
                let average = u.iter().copied().sum::<E>() / count;
                let along = pairs.clone().map(|(&z, &u)| u * normal(z)).sum::<E>() / count;
                let entry = |(&z, &u): (&E, &E)| (u - average - along * normal(z)) / deviation;
                fill(out, pairs.map(entry));
            }
        }
    }

    /// Adds the gradients of ⟨p, J v⟩ by z and by x, with p and v held constant.
    pub fn bend(&self, z: &[E], x: &[E], [p, v]: [&[E]; 2], [z_bar, x_bar]: [&mut [E]; 2]) {
        let products = p.iter().zip(v).map(|(&p, &v)| p * v);
        match self {
            Self::Linear(_) | Self::Shift => {}
            Self::Scale => add(x_bar, products),
            Self::Heron => {
                let both = products.clone().zip(z.iter().zip(x));
                add(z_bar, both.map(|(pv, (&z, &x))| pv * x / (z * z * z)));
                let pairs = products.zip(z);
                add(x_bar, pairs.map(|(pv, &z)| -pv / (E::of(2.0) * z * z)));
            }
            Self::Each(function) => {
                let pairs = products.zip(z);
                add(z_bar, pairs.map(|(pv, &z)| pv * function.bend(z)));
            }
            Self::Normalize => {
                let (mean, deviation) = moments(z);
                let count = E::of(z.len() as f64);
                let normal: Vec<E> = z.iter().map(|&z| (z - mean) / deviation).collect();
                let [mut jp, mut jv] = [p, v].map(|u| vec![E::zero(); u.len()]);
                self.pull(z, x, p, &mut jp);
                self.pull(z, x, v, &mut jv);
                let (product, scale) = (dot(p, &jv), -(count * deviation).recip());
                let (along_p, along_v) = (dot(p, &normal), dot(v, &normal));
                let entry = |((&y, &jp), &jv)| product * y + along_v * jp + along_p * jv;
                let entries = normal.iter().zip(&jp).zip(&jv).map(entry);
                add(z_bar, entries.map(|entry| scale * entry));
            }
        }
    }

    /// Adds the cotangent of the input to `sum`; nothing to do for stages that take none.
    pub fn pull_input(&self, z: &[E], u: &[E], sum: &mut [E]) {
        for ((&z, &u), sum) in z.iter().zip(u).zip(sum) {
            *sum += match self {
                Self::Scale => u * z,
                Self::Heron => u / (z + z),
                _ => u,
            };
        }
    }

    /// The 2-norm of the sums of absolute values that [`value`](Self::value) adds up: what rounding errors are relative to.
    pub fn magnitude(&self, z: &[E], x: &[E]) -> f64 {
        let square = |value: E| value.wide() * value.wide();
        let sizes: f64 = match self {
            Self::Linear(m) => {
                let absolute = |values: &[E]| values.iter().map(|v| v.abs()).collect::<Vec<_>>();
                let mut sums = vec![E::zero(); z.len()];
                times(&absolute(z), &absolute(m), &mut sums);
                sums.into_iter().map(square).sum()
            }
            Self::Normalize => {
                let (_, deviation) = moments(z);
                z.iter().map(|&z| square(z / deviation)).sum()
            }
            Self::Shift => z.iter().chain(x).map(|&value| square(value)).sum(),
            _ => {
                let mut out = vec![E::zero(); z.len()];
                self.value(z, x, &mut out);
                out.into_iter().map(square).sum()
            }
        };
        sizes.sqrt()
    }
}

fn fill<E>(out: &mut [E], values: impl Iterator<Item = E>) {
    out.iter_mut().zip(values).for_each(|(out, v)| *out = v);
}

fn add<E: Scalar>(sum: &mut [E], terms: impl Iterator<Item = E>) {
    sum.iter_mut()
        .zip(terms)
        .for_each(|(sum, term)| *sum += term);
}

fn dot<E: Scalar>(a: &[E], b: &[E]) -> E {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

/// `out = z M`.
fn times<E: Scalar>(z: &[E], m: &[E], out: &mut [E]) {
    out.fill(E::zero());
    for (&z, row) in z.iter().zip(m.chunks_exact(z.len())) {
        out.iter_mut().zip(row).for_each(|(out, &m)| *out += z * m);
    }
}

/// Mean and √(variance + ε).
fn moments<E: Scalar>(z: &[E]) -> (E, E) {
    let count = E::of(z.len() as f64);
    let mean = z.iter().copied().sum::<E>() / count;
    let square = z.iter().map(|&z| (z - mean) * (z - mean)).sum::<E>() / count;
    (mean, (square + E::of(EPSILON)).sqrt())
}
