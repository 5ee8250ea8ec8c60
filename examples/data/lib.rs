//! The digits that come with the program: the data source `digits`.

use equilibria_core::prelude::*;
use equilibria_fusion::data::{DataError, DataSet};
use equilibria_fusion::DataSource;

plugin! {
    /// UCI Multiple Features: 2000 handwritten digits in 6 modalities, 1400 training and 600 test rows.
    ///
    /// Compiled into the program. R. Duin, TU Delft; M. van Breukelen et al., Handwritten digit recognition by combined
    /// classifiers, Kybernetika 34, 1998. License: see `examples/data/README.md`.
    pub struct Digits: DataSource {}
}

#[typetag::serde(name = "digits")]
impl DataSource for Digits {
    fn load(&self) -> Result<DataSet, DataError> {
        DataSet::from_bundle(include_bytes!("digits.safetensors"), "digits")
    }
}
