//! What can go wrong, with the numbers that say where, and what to do about it.

use crate::report::Status;

/// Result of everything in Equilibria that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;

/// Errors of the framework. Every message says what is wrong, what is allowed and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value outside its range.
    #[error("`{plugin}`: `{field}` must be {expected}, got {got}")]
    Config {
        /// Name of the plugin or configuration table.
        plugin: &'static str,
        /// The key at fault.
        field: &'static str,
        /// The allowed range.
        expected: &'static str,
        /// The value found.
        got: String,
    },

    /// A plugin name that no linked crate registers.
    #[error(
        "no {kind} plugin is named `{name}`{}; known: {}; if it is one of your own, is its crate linked? \
         Add `use its_crate as _;`",
        hint(.nearest), .known.join(", ")
    )]
    UnknownPlugin {
        /// Kind of plugin, e.g. `solver`.
        kind: String,
        /// The name asked for.
        name: String,
        /// The known name closest to it.
        nearest: Option<String>,
        /// All known names, sorted.
        known: Vec<String>,
    },

    /// A kind of plugin that no linked crate has.
    #[error("no kind of plugin is named `{name}`{}; known: {} (a kind is known once a crate with plugins of it is linked)", hint(.nearest), .known.join(", "))]
    UnknownKind {
        /// The name asked for.
        name: String,
        /// The known name closest to it.
        nearest: Option<String>,
        /// All known names, sorted.
        known: Vec<String>,
    },

    /// A name that no problem of `equilibria-testing` has.
    #[error("no problem is named `{name}`{}; known: {}", hint(.nearest), .known.join(", "))]
    UnknownProblem {
        /// The name asked for.
        name: String,
        /// The known name closest to it.
        nearest: Option<String>,
        /// All known names, by family.
        known: Vec<String>,
    },

    /// Two linked files register the same name.
    #[error("two {kind} plugins are named `{name}`: {first} and {second}; rename one")]
    DuplicatePlugin {
        /// Kind of plugin.
        kind: String,
        /// The shared name.
        name: String,
        /// File of one.
        first: &'static str,
        /// File of the other.
        second: &'static str,
    },

    /// No plugin of a kind is linked into the program.
    #[error(
        "no {kind} plugin is registered; is the crate that provides them linked? \
         Add e.g. `use equilibria as _;`"
    )]
    EmptyRegistry {
        /// Kind of plugin.
        kind: String,
    },

    /// A plugin configuration that does not parse.
    #[error("{what}: {message}")]
    Parse {
        /// What was parsed.
        what: String,
        /// The parser's message.
        message: String,
    },

    /// A tensor of the wrong shape.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// The tensor.
        what: String,
        /// The shape it must have.
        expected: String,
        /// The shape it has.
        got: String,
    },

    /// A GPU is asked for, of a program that was built without CUDA.
    #[error(
        "this program was built without CUDA and cannot use device `{device}`; build `equilibria-cuda` with `--features cuda` and start that, \
         or choose device `cpu`"
    )]
    WithoutCuda {
        /// The device asked for.
        device: crate::DeviceName,
    },

    /// A GPU that is not there, or cannot be used.
    #[error("GPU {number} cannot be used: {reason}; see what `nvidia-smi` lists, or choose device `cpu`")]
    NoGpu {
        /// Its number, from 0.
        number: usize,
        /// Why not.
        reason: String,
    },

    /// Something that must be there before the call is not.
    #[error("{what} is missing; {remedy}")]
    Missing {
        /// What.
        what: String,
        /// What to do, in the imperative.
        remedy: &'static str,
    },

    /// NaN or infinity where only numbers make sense.
    #[error("{what} holds a non-finite value at row {}, column {}", .row + 1, .column + 1)]
    NonFinite {
        /// The tensor.
        what: String,
        /// Row, from 0; messages count from 1.
        row: usize,
        /// Column, from 0; messages count from 1.
        column: usize,
    },

    /// A training step whose gradients are not finite, or too large to have a norm.
    #[error(
        "epoch {epoch}, step {step}: the gradient of `{parameter}` is not finite ({affected} of {parameters} parameters, loss {loss:.3e}); \
         lower the learning rate, or see `unconverged_fraction` and `residual` of the epochs before"
    )]
    NonFiniteGradient {
        /// The first parameter with such a gradient.
        parameter: String,
        /// How many have one.
        affected: usize,
        /// How many there are.
        parameters: usize,
        /// The value of the loss, with all auxiliary terms.
        loss: f64,
        /// The epoch, from 1.
        epoch: usize,
        /// The step of the epoch, from 1.
        step: usize,
    },

    /// Numbers that are not finite, or a solve that fails, where parameters are not finite or very large: training has diverged.
    #[error("{place}: {source}; {}; {remedy}", diverged(.parameter, *.largest, *.affected, *.parameters))]
    Diverged {
        /// The step of an epoch, both from 1, or the file.
        place: String,
        /// The first parameter that is not finite, or else the one with the largest entry.
        parameter: String,
        /// The size of its largest entry; infinite where one is not finite.
        largest: f64,
        /// How many parameters are not finite.
        affected: usize,
        /// How many there are.
        parameters: usize,
        /// What to do, in the imperative.
        remedy: &'static str,
        /// What went wrong.
        source: Box<Error>,
    },

    /// A solve left samples unsolved and `on_unconverged = "error"` was asked for.
    #[error(
        "{solve} solve: {unconverged} of {batch} samples unsolved (sample {}: {status} at relative \
         residual {residual:.2e}); {}, loosen `tolerance`, or relax `on_unconverged`",
        .sample + 1,
        .status.remedy()
    )]
    Unconverged {
        /// `forward` or `adjoint`.
        solve: &'static str,
        /// Unsolved samples.
        unconverged: usize,
        /// Samples in the batch.
        batch: usize,
        /// The sample with the largest relative residual, from 0; messages count from 1.
        sample: usize,
        /// Its status.
        status: Status,
        /// Its relative residual.
        residual: f64,
    },

    /// What went wrong in one of several equilibria.
    #[error("{name}: {source}")]
    Equilibrium {
        /// [Name](crate::Equilibrium::name) of the equilibrium.
        name: String,
        /// What went wrong.
        source: Box<Error>,
    },

    /// A check of gradients that says nothing of some parameters: theirs are 0, whether right or wrong.
    #[error(
        "nothing was checked of {}: every entry of the gradient is 0. Where `TensorCode` uses a parameter, let it take part as \
         `w.retaped::<T>()`; where it has no effect at these inputs, choose others; leave one that never has an effect out of `parameters!`",
        .parameters.join(", ")
    )]
    ZeroGradient {
        /// Names of the parameters.
        parameters: Vec<String>,
    },

    /// A row of `step` that depends on other rows than its own.
    #[error(
        "row {row} of `step` changes with row {other} of its arguments (from 1), and a batch would be solved as one sample: \
         take means, norms and sums over the columns of a row, not over the rows of a batch"
    )]
    DependentRows {
        /// The row that changes, from 1.
        row: usize,
        /// The row it depends on, from 1.
        other: usize,
    },

    /// Another rank of a parallel run has failed, and says itself why.
    #[error("rank {rank} has failed, and ends this one with it; its own message says why")]
    OtherRank {
        /// The rank.
        rank: usize,
    },

    /// Ranks of a parallel run that do not work on the same.
    #[error("rank {rank} differs from rank 0 in {what}; {remedy}")]
    RanksDiffer {
        /// The first rank that differs.
        rank: usize,
        /// What differs.
        what: String,
        /// What to do about it, in the imperative.
        remedy: &'static str,
    },

    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A parameter that is larger than the memory there is.
    #[error(
        "a parameter of {rows} x {columns} numbers takes {:.1} GiB, and {:.1} GiB of memory are free; choose smaller widths",
        .needed / GIB, .free / GIB
    )]
    Memory {
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// Bytes it takes.
        needed: f64,
        /// Bytes that are free.
        free: f64,
    },

    /// An error of the tensor device, e.g. out of memory.
    #[error("tensor device: {message}")]
    Device {
        /// The device's message.
        message: String,
    },
}

impl Error {
    /// Wraps an error of a dfdx device, which need not implement [`std::error::Error`].
    pub fn device(error: impl std::fmt::Display) -> Self {
        Self::Device {
            message: error.to_string(),
        }
    }

    /// A derivative was asked for before a point to take it at.
    pub(crate) fn not_linearized() -> Self {
        Self::Missing {
            what: "the point of linearization".to_owned(),
            remedy: "call `linearize` first",
        }
    }

    /// The same error, with the name of the equilibrium it comes from, if that has one.
    pub(crate) fn of_equilibrium(self, name: &str) -> Self {
        match name {
            "" => self,
            name => Self::Equilibrium {
                name: name.to_owned(),
                source: Box::new(self),
            },
        }
    }

    /// Returns [`Error::Config`] unless `holds`.
    pub fn require(
        holds: bool,
        plugin: &'static str,
        field: &'static str,
        expected: &'static str,
        got: impl ToString,
    ) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(Self::Config {
            plugin,
            field,
            expected,
            got: got.to_string(),
        })
    }

    /// [`require`](Self::require) a number above 0, and finite.
    pub fn require_positive(plugin: &'static str, field: &'static str, value: f64) -> Result<()> {
        let holds = value > 0.0 && value.is_finite();
        Self::require(holds, plugin, field, "finite and above 0", value)
    }

    /// [`require`](Self::require) a number of at least 0, and finite.
    pub fn require_not_negative(
        plugin: &'static str,
        field: &'static str,
        value: f64,
    ) -> Result<()> {
        let holds = value >= 0.0 && value.is_finite();
        Self::require(holds, plugin, field, "finite and at least 0", value)
    }

    /// [`require`](Self::require) a number from 0 on, below 1: a share, a probability, a decay.
    pub fn require_fraction(plugin: &'static str, field: &'static str, value: f64) -> Result<()> {
        let holds = (0.0..1.0).contains(&value);
        Self::require(holds, plugin, field, "in [0, 1)", value)
    }

    /// [`require`](Self::require) a number above 0, below 1: a threshold, a mixing factor that mixes.
    pub fn require_inner_fraction(
        plugin: &'static str,
        field: &'static str,
        value: f64,
    ) -> Result<()> {
        let holds = value > 0.0 && value < 1.0;
        Self::require(holds, plugin, field, "in (0, 1)", value)
    }

    /// [`require`](Self::require) a number above 1, and finite: a factor of growth.
    pub fn require_above_one(plugin: &'static str, field: &'static str, value: f64) -> Result<()> {
        let holds = value > 1.0 && value.is_finite();
        Self::require(holds, plugin, field, "finite and above 1", value)
    }

    /// [`require`](Self::require) a number above 0, up to 1: a damping factor, a share of the whole.
    pub fn require_share(plugin: &'static str, field: &'static str, value: f64) -> Result<()> {
        let holds = value > 0.0 && value <= 1.0;
        Self::require(holds, plugin, field, "in (0, 1]", value)
    }

    /// [`require`](Self::require) a count of at least 1.
    pub fn require_at_least_one(
        plugin: &'static str,
        field: &'static str,
        value: usize,
    ) -> Result<()> {
        Self::require(value >= 1, plugin, field, "at least 1", value)
    }

    /// [`require`](Self::require) a width of a state or a map, from 1 to 1048576: a wider one would be a mistake.
    pub fn require_width(plugin: &'static str, field: &'static str, value: usize) -> Result<()> {
        let holds = (1..=1 << 20).contains(&value);
        Self::require(holds, plugin, field, "from 1 to 1048576", value)
    }

    /// [`require`](Self::require) several counts of at least 1, by their fields.
    pub fn require_all_at_least_one(
        plugin: &'static str,
        counts: &[(&'static str, usize)],
    ) -> Result<()> {
        let mut counts = counts.iter();
        counts.try_for_each(|&(field, value)| Self::require_at_least_one(plugin, field, value))
    }

    /// [`require`](Self::require) a width that so many heads of an attention, at least 1, divide among themselves.
    pub fn require_divided_by_heads(
        plugin: &'static str,
        field: &'static str,
        width: usize,
        heads: usize,
    ) -> Result<()> {
        Self::require_at_least_one(plugin, "heads", heads)?;
        let got = format!("{width} for {heads} heads");
        let divides = width.is_multiple_of(heads);
        Self::require(divides, plugin, field, "a multiple of `heads`", got)
    }
}

fn diverged(parameter: &str, largest: f64, affected: usize, parameters: usize) -> String {
    match affected {
        0 => format!("the largest parameter is `{parameter}`, up to {largest:.1e}"),
        _ => {
            format!("parameter `{parameter}` is not finite ({affected} of {parameters} parameters)")
        }
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
