//! What each kernel is given. Fields are those of the structs in the sources, in the same order; addresses are 0 where nothing is.

use std::borrow::Cow;

use crate::device_code::Formulas;

/// A kernel with what it is given.
pub(super) trait Kernel {
    /// Its name in the source.
    fn name(&self) -> &'static str;

    /// What it is given by value: numbers alone, laid out as in C.
    type Argument: Copy;

    /// What it is given.
    fn argument(&self) -> Self::Argument;

    /// Where it stands.
    fn source(&self) -> Source;

    /// Blocks, and threads in each.
    fn blocks(&self) -> (usize, u32);
}

/// A source, compiled as a whole.
pub(super) struct Source {
    pub name: Cow<'static, str>,
    pub text: Cow<'static, str>,
    pub kernels: &'static [&'static str],
}

fn own(name: &'static str, text: &'static str, kernels: &'static [&'static str]) -> Source {
    Source {
        name: name.into(),
        text: text.into(),
        kernels,
    }
}

fn vectors() -> Source {
    let kernels = &["dots", "combine", "copy_rows", "exchange", "normal"];
    own("vectors", include_str!("kernels/vectors.cu"), kernels)
}

fn normalization() -> Source {
    let kernels = &[
        "normalize",
        "normalize_back",
        "normalize_tangent",
        "normalize_bend",
        "column_sums",
    ];
    own("normalize", include_str!("kernels/normalize.cu"), kernels)
}

fn arithmetic() -> Source {
    let kernels = &["linear", "multiply", "block", "quotient"];
    own("arithmetic", include_str!("kernels/arithmetic.cu"), kernels)
}

fn columns() -> Source {
    let kernels = &[
        "gather",
        "scatter",
        "turn",
        "copies",
        "sum_copies",
        "stretch",
    ];
    own("columns", include_str!("kernels/columns.cu"), kernels)
}

fn groups() -> Source {
    let kernels = &[
        "sum_groups",
        "softmax",
        "softmax_along",
        "softmax_bend",
        "log_sum_exp",
        "log_sum_exp_tangent",
        "log_sum_exp_back",
        "largest_of_groups",
        "largest_tangent",
        "largest_back",
        "row_norms",
        "row_norms_back",
    ];
    own("groups", include_str!("kernels/groups.cu"), kernels)
}

fn training() -> Source {
    let kernels = &["squares", "mask", "move_rows", "leading", "project"];
    own("training", include_str!("kernels/training.cu"), kernels)
}

/// Threads of a block where each has a number of its own.
const THREADS: u32 = 256;

/// Blocks for so many numbers.
fn numbers(count: usize) -> (usize, u32) {
    (count.div_ceil(THREADS as usize), THREADS)
}

/// Blocks for so many groups of numbers, with threads as many as a power of two.
fn blocks_of(groups: u32, size: u32) -> (usize, u32) {
    (groups as usize, size.next_power_of_two().clamp(32, THREADS))
}

/// Vectors that one launch reads beside others.
pub(super) const MOST: usize = 16;

/// Rows that one launch copies by number.
pub(super) const MASKED: usize = 1 << 14;

/// Matrices that one launch exchanges rows of.
pub(super) const MATRICES: usize = 96;

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident = $kernel:literal in $source:expr, $blocks:expr; { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub(super) struct $name {
            $(pub $field: $type,)*
        }

        impl Kernel for $name {
            type Argument = Self;

            fn name(&self) -> &'static str {
                $kernel
            }

            fn argument(&self) -> Self {
                *self
            }

            fn source(&self) -> Source {
                $source
            }

            fn blocks(&self) -> (usize, u32) {
                let blocks: fn(&Self) -> (usize, u32) = $blocks;
                blocks(self)
            }
        }
    )*};
}

kernels! {
    /// `out = a − b` where there is a b, and inner products in f64.
    Dots = "dots" in vectors(), |dots| (dots.rows as usize, 128); {
        a: u64, b: u64, out: u64, others: [u64; MOST], sums: u64, count: u32, dim: u32,
        // Behind what the kernel reads.
        rows: u32,
    }
    /// `out = Σ c v`.
    Combine = "combine" in vectors(), |p| numbers(p.rows as usize * p.dim as usize); {
        terms: [u64; MOST], same: [f64; MOST], coefficients: u64, out: u64, each: u32, count: u32, rows: u32, dim: u32,
    }
    /// Copies the rows whose bit is set.
    CopyRows = "copy_rows" in vectors(), |p| (p.rows as usize, 128); {
        from: u64, to: u64, dim: u32, rows: u32, mask: [u32; MASKED / 32],
    }
    /// Exchanges rows of many matrices.
    Exchange = "exchange" in vectors(), |p| (p.count as usize * p.matrices_count as usize, 128); {
        matrices: [u64; MATRICES], widths: [u32; MATRICES], cycles: u64, count: u32, matrices_count: u32,
    }
    /// Standard normal numbers.
    Normal = "normal" in vectors(), |p| numbers(p.rows as usize * (p.dim as usize).div_ceil(2)); {
        out: u64, streams: u64, rows: u32, dim: u32,
    }
    /// Group normalization.
    Normalize = "normalize" in normalization(), |p| (p.rows as usize * p.groups as usize, 128); {
        x: u64, shift: u64, added: u64, weight: u64, bias: u64, y: u64, values: u64, scales: u64, rectified: u64, epsilon: f64,
        width: u32, groups: u32, before: u32, after: u32,
        rows: u32,
    }
    /// Its way back.
    NormalizeBack = "normalize_back" in normalization(), |p| (p.rows as usize * p.groups as usize, 128); {
        values: u64, scales: u64, weight: u64, before: u64, after: u64, input: u64, out: u64, plain: u64,
        width: u32, groups: u32, add: u32,
        rows: u32,
    }
    /// Its tangent.
    NormalizeTangent = "normalize_tangent" in normalization(), |p| (p.rows as usize * p.groups as usize, 128); {
        values: u64, scales: u64, weight: u64, before: u64, after: u64, input: u64, out: u64, plain: u64,
        width: u32, groups: u32, add: u32,
        rows: u32,
    }
    /// The derivative of its tangent.
    NormalizeBend = "normalize_bend" in normalization(), |p| (p.rows as usize * p.groups as usize, 128); {
        values: u64, scales: u64, weight: u64, before: u64, after: u64, p: u64, x_dot: u64, x_bar: u64,
        width: u32, groups: u32, add: u32,
        rows: u32,
    }
    /// Sums over rows, added to what is there.
    ColumnSums = "column_sums" in normalization(), |p| ((p.width as usize).div_ceil(32), 256); {
        a: u64, b: u64, c: u64, after: u64, products: u64, sums: u64, others: u64, rows: u32, width: u32,
    }
    /// `out = c a + d b + e`.
    Linear = "linear" in arithmetic(), |p| numbers(p.rows as usize * p.width as usize); {
        a: u64, b: u64, out: u64, c: f64, d: f64, e: f64, rows: u32, width: u32, row: u32, add: u32,
    }
    /// `out = a b + c d`.
    Multiply = "multiply" in arithmetic(), |p| numbers(p.count as usize); {
        a: u64, b: u64, c: u64, d: u64, out: u64, count: u32, add: u32,
    }
    /// Sums of squares, one per block.
    Squares = "squares" in training(), |p| (p.blocks as usize, 256); {
        x: u64, parts: u64, count: u32,
        // Behind what the kernel reads.
        blocks: u32,
    }
    /// Inverted dropout.
    Mask = "mask" in training(), |p| numbers(p.count as usize); {
        out: u64, stream: u64, dropped: u64, kept: f64, count: u32,
    }
    /// Rows by number.
    MoveRows = "move_rows" in training(), |p| (p.rows as usize, 128); {
        from: u64, to: u64, places: u64, rows: u32, width: u32, limit: u32, scatter: u32,
    }
    /// The largest singular value.
    Leading = "leading" in training(), |_| (1, 256); {
        x: u64, u: u64, v: u64, sigma: u64, outer: u64, rows: u32, columns: u32, iterations: u32,
    }
    /// The nearest point of a convex set, one block per row or column.
    Project = "project" in training(), |p| (if p.set == 2 { p.columns } else { p.rows } as usize, 256); {
        from: u64, to: u64, bound: f64, slack: f64, rows: u32, columns: u32, set: u32,
    }
    /// Columns from one matrix to another.
    Block = "block" in arithmetic(), |p| numbers(p.rows as usize * p.width as usize); {
        from: u64, to: u64, rows: u32, width: u32, from_width: u32, from_first: u32, to_width: u32, to_first: u32, add: u32,
    }
    /// `out = p (a + c y b) / x²`.
    Quotient = "quotient" in arithmetic(), |p| numbers(p.count as usize); {
        a: u64, y: u64, b: u64, x: u64, p: u64, out: u64, c: f64, count: u32, add: u32,
    }
    /// Columns by number.
    Gather = "gather" in columns(), |p| numbers(p.rows as usize * p.width as usize); {
        x: u64, y: u64, columns: u64, rows: u32, width: u32, from: u32, add: u32,
    }
    /// Sums of columns by number.
    Scatter = "scatter" in columns(), |p| numbers(p.rows as usize * p.width as usize); {
        x: u64, y: u64, begins: u64, columns: u64, rows: u32, width: u32, from: u32, add: u32,
    }
    /// Transposes.
    Turn = "turn" in columns(), |p| numbers(p.rows as usize * p.height as usize * p.width as usize * p.block as usize); {
        x: u64, y: u64, rows: u32, height: u32, width: u32, block: u32, add: u32,
    }
    /// Copies side by side.
    Copies = "copies" in columns(), |p| numbers(p.outer as usize * p.count as usize * p.inner as usize); {
        x: u64, y: u64, factor: f64, outer: u32, count: u32, inner: u32, add: u32,
    }
    /// Their sum.
    SumCopies = "sum_copies" in columns(), |p| numbers(p.outer as usize * p.inner as usize); {
        x: u64, y: u64, factor: f64, outer: u32, count: u32, inner: u32, add: u32,
    }
    /// Every row times the same numbers.
    Stretch = "stretch" in columns(), |p| numbers(p.rows as usize * p.width as usize); {
        x: u64, row: u64, y: u64, rows: u32, width: u32, add: u32,
    }
    /// Sums of the sizes of the numbers in rows of a parameter.
    RowNorms = "row_norms" in groups(), |p| blocks_of(if p.rows > 0 { p.groups } else { 0 }, p.size); {
        weight: u64, y_bar: u64, out: u64, rows: u32, groups: u32, size: u32,
    }
    /// Their gradient.
    RowNormsBack = "row_norms_back" in groups(), |p| blocks_of(if p.rows > 0 { p.groups } else { 0 }, p.size); {
        weight: u64, y_bar: u64, out: u64, rows: u32, groups: u32, size: u32,
    }
}

/// A kernel, by its name, of groups of adjacent columns.
pub(super) struct OfGroups(pub &'static str, pub GroupsArgument);

/// What it is given.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct GroupsArgument {
    pub x: u64,
    pub y: u64,
    pub u: u64,
    pub v: u64,
    pub out: u64,
    pub factor: f64,
    pub groups: u32,
    pub size: u32,
    pub add: u32,
}

impl Kernel for OfGroups {
    type Argument = GroupsArgument;

    fn name(&self) -> &'static str {
        self.0
    }

    fn argument(&self) -> GroupsArgument {
        self.1
    }

    fn source(&self) -> Source {
        groups()
    }

    fn blocks(&self) -> (usize, u32) {
        blocks_of(self.1.groups, self.1.size)
    }
}

/// Formulas as kernels of their own.
fn formulas(formulas: &Formulas) -> Source {
    let Formulas {
        value,
        derivative,
        second,
    } = formulas;
    let text = include_str!("kernels/pointwise.cu").replace("VALUE;", &format!("({value});"));
    let text = text.replace("(DERIVATIVE)", &format!("({derivative})"));
    Source {
        name: format!("{value} | {derivative} | {second}").into(),
        text: text.replace("(SECOND)", &format!("({second})")).into(),
        kernels: &["value", "back"],
    }
}

/// A function of single numbers.
pub(super) struct Pointwise<'f>(pub &'f Formulas, pub PointwiseArgument);

/// What it is given.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PointwiseArgument {
    pub x: u64,
    pub shift: u64,
    pub added: u64,
    pub argument: u64,
    pub y: u64,
    pub rows: u32,
    pub width: u32,
}

impl Kernel for Pointwise<'_> {
    type Argument = PointwiseArgument;

    fn name(&self) -> &'static str {
        "value"
    }

    fn argument(&self) -> PointwiseArgument {
        self.1
    }

    fn source(&self) -> Source {
        formulas(self.0)
    }

    fn blocks(&self) -> (usize, u32) {
        numbers(self.1.rows as usize * self.1.width as usize)
    }
}

/// Its derivatives.
pub(super) struct PointwiseBack<'f>(pub &'f Formulas, pub PointwiseBackArgument);

/// What they are given.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PointwiseBackArgument {
    pub argument: u64,
    pub result: u64,
    pub input: u64,
    pub factor: u64,
    pub out: u64,
    pub count: u32,
    pub add: u32,
}

impl Kernel for PointwiseBack<'_> {
    type Argument = PointwiseBackArgument;

    fn name(&self) -> &'static str {
        "back"
    }

    fn argument(&self) -> PointwiseBackArgument {
        self.1
    }

    fn source(&self) -> Source {
        formulas(self.0)
    }

    fn blocks(&self) -> (usize, u32) {
        numbers(self.1.count as usize)
    }
}

/// A rule of an optimizer.
pub(super) struct Update(pub &'static str, pub UpdateArgument);

/// What it is given.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct UpdateArgument {
    pub old: u64,
    pub gradient: u64,
    pub values: u64,
    pub first: u64,
    pub second: u64,
    pub average: u64,
    pub numbers: [f64; 10],
    pub decay: f64,
    pub count: u32,
}

impl Kernel for Update {
    type Argument = UpdateArgument;

    fn name(&self) -> &'static str {
        "update"
    }

    fn argument(&self) -> UpdateArgument {
        self.1
    }

    fn source(&self) -> Source {
        Source {
            name: self.0.into(),
            text: include_str!("kernels/update.cu")
                .replace("RULE;", &format!("{};", self.0))
                .into(),
            kernels: &["update"],
        }
    }

    fn blocks(&self) -> (usize, u32) {
        numbers(self.1.count as usize)
    }
}
