//! Why parameters cannot be read or written.

/// Why a file of parameters cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is damaged or no safetensors file.
    #[error("{path}: not a complete safetensors file ({message}); train again or restore a copy")]
    Damaged {
        /// The file.
        path: String,
        /// The parser's message.
        message: String,
    },
    /// A file of `torch.save`, which holds programs as well as numbers.
    #[error("{path}: a file of `torch.save`; write it with `safetensors.torch.save_file(model.state_dict(), …)` instead")]
    Pickled {
        /// The file.
        path: String,
    },
    /// The parameters make no file.
    #[error("the parameters cannot be written as a safetensors file: {message}")]
    Unwritable {
        /// The reason.
        message: String,
    },
    /// A parameter of the model is not in the file.
    #[error("{path}: no parameter `{name}`{}; was it saved from another configuration?", near(.name, .nearest))]
    Missing {
        /// The file.
        path: String,
        /// The parameter.
        name: String,
        /// The array most like it of those the model does not need.
        nearest: Option<String>,
    },
    /// A parameter is in the file as parts of a reparametrization that is not known here.
    #[error(
        "{path}: parameter `{name}` is kept as {}, which is neither weight_norm nor spectral_norm as PyTorch writes them; before \
         saving, call `torch.nn.utils.parametrize.remove_parametrizations`, or `prune.remove`, `remove_weight_norm` or \
         `remove_spectral_norm` of `torch.nn.utils`",
        quoted(.stored)
    )]
    Reparametrized {
        /// The file.
        path: String,
        /// The parameter.
        name: String,
        /// The arrays that are in its place.
        stored: Vec<String>,
    },
    /// What a parameter is to be divided by is 0: the norm of a row of weight normalization, or the product of spectral normalization.
    #[error(
        "{path}: parameter `{name}` cannot be put together from {}: a row or column that gives its direction is all 0, and the norm it is \
         divided by is 0; give it other numbers, or the parameter itself, before saving",
        quoted(.stored)
    )]
    Undirected {
        /// The file.
        path: String,
        /// The parameter.
        name: String,
        /// The arrays it is made of.
        stored: Vec<String>,
    },
    /// Arrays that no parameter of the model takes.
    #[error(
        "{path}: the model has no parameter for {}; load the file into the configuration it was saved from, or leave out what is no \
         parameter: `{{name: state[name] for name in names}}`",
        quoted(.names)
    )]
    Additional {
        /// The file.
        path: String,
        /// Their names.
        names: Vec<String>,
    },
    /// The device cannot hold the parameters.
    #[error(transparent)]
    Parameters(#[from] equilibria_core::Error),
    /// A parameter has another shape.
    #[error("{path}: parameter `{name}` is {got}, the model needs {expected}; does the data fit the model?")]
    Mismatch {
        /// The file.
        path: String,
        /// The parameter, or the part of its reparametrization.
        name: String,
        /// Shape and type of the model's parameter.
        expected: String,
        /// Shape and type in the file.
        got: String,
    },
    /// An array is of a type that parameters are not read from.
    #[error("{path}: `{name}` is {got}; parameters are read from F16, BF16, F32, F64 and BOOL: convert it with `.float()`")]
    ElementType {
        /// The file.
        path: String,
        /// The array.
        name: String,
        /// Its type.
        got: String,
    },
    /// A parameter is NaN or infinite, or too large for the element type of the model.
    #[error("{path}: parameter `{name}`, row {row}, column {column}: no finite number of type {dtype}; restore a copy from before training diverged")]
    NonFinite {
        /// The file.
        path: String,
        /// The parameter.
        name: String,
        /// Row, from 1.
        row: usize,
        /// Column, from 1.
        column: usize,
        /// Element type of the model.
        dtype: String,
    },
}

/// The names most worth to be read.
fn quoted(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = (names.iter().take(SHOWN))
        .map(|name| format!("`{name}`"))
        .collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

fn near(name: &str, nearest: &Option<String>) -> String {
    let Some(nearest) = nearest else {
        return String::new();
    };
    match nearest.strip_suffix(name) {
        Some(prefix) => format!(
            ", but `{nearest}` (take the prefix off: `{{k.removeprefix(\"{prefix}\"): v for k, v in state.items()}}`)"
        ),
        None => format!(" (did you mean the array `{nearest}`? rename it)"),
    }
}
