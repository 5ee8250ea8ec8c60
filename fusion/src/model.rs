//! A multimodal model: backbone, fusion, head.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use equilibria_core::{
    registry, Backend, BuildAny, Error, Family, Matrix, Parameters, Result, Scalar,
};

use crate::data::{
    DataError, DataSet, Features, Names, Rows, Samples, Split, SplitName, Table, TargetKind,
    Targets,
};
use crate::detection::ProposalRows;
use crate::head::{Head, Losses};
use crate::layers::modules::Linear;
use crate::layers::Initializer;
use crate::pass::Pass;
use crate::slot::{FillSlot, Slot, Slots};

/// From one feature per modality, each `[batch, width]`, to one feature.
pub trait Fusion<E: Scalar, D: Backend<E>>: Parameters<E, D> {
    /// Width of the result.
    fn output_dim(&self) -> usize;

    /// Fuses the features. Solves and penalties are left in `pass`.
    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>>;

    /// How the fused state settles over `steps` steps of the iteration behind it, whatever its tolerance: per sample the
    /// relative difference norms `‖z^[i+1] − z^[i]‖ / ‖z^[i]‖`, i = 1, …, steps. Default: `None`, there is no iteration.
    fn differences(&self, _x: &[Matrix<E, D>], _steps: usize) -> Result<Option<Vec<Vec<f64>>>> {
        Ok(None)
    }

    /// What is remembered from one training pass to the next beside the parameters, by name. Default: nothing.
    fn memory(&self) -> Vec<(String, Vec<E>)> {
        Vec::new()
    }

    /// The entries of [`memory`](Self::memory) that belong to some samples, by their numbers in [`Pass::samples`]. Default: nothing.
    fn memory_of(&self, _of: &dyn Fn(usize) -> bool) -> Vec<(String, Vec<E>)> {
        Vec::new()
    }

    /// Remembers an entry of [`memory`](Self::memory) again, when a run goes on. Default: nothing is remembered.
    fn remember(&self, _name: &str, _values: Vec<E>) {}
}

/// The family of fusions.
pub struct Fusions;

impl Family for Fusions {
    type Request<'a, D: 'a> = FusionRequest<'a, D>;
    type Product<E: Scalar, D: Backend<E>> = Box<dyn Fusion<E, D>>;
}

/// What a fusion is built for.
pub struct FusionRequest<'a, D> {
    /// Number of modalities.
    pub modalities: usize,
    /// Width of each feature.
    pub width: usize,
    /// Width of each, where they differ and the fusion takes them [so](FusionConfig::takes_widths); else empty.
    pub widths: &'a [usize],
    /// Makes the parameters.
    pub init: &'a mut Initializer<D>,
}

/// The configuration of a fusion; the fusion comes from [`Build<Fusions>`](equilibria_core::Build).
#[equilibria_core::typetag::serde(tag = "type")]
pub trait FusionConfig: BuildAny<Fusions> + Debug + Send + Sync + dyn_clone::DynClone {
    /// Checks the ranges of all fields and of the plugins inside. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Whether features may have [widths](FusionRequest::widths) of their own. Default: no, those that differ are projected to one width.
    fn takes_widths(&self) -> bool {
        false
    }
}

equilibria_core::kind!(dyn FusionConfig, "fusion", validate);

/// A fusion by name, with its default configuration: of so many modalities, each with a feature of this width.
///
/// # Errors
/// [`Error::UnknownPlugin`], which names the nearest known one, and those of the fusion.
pub fn fusion<E: Scalar, D: Backend<E>>(
    name: &str,
    modalities: usize,
    width: usize,
    init: &mut Initializer<D>,
) -> Result<Box<dyn Fusion<E, D>>> {
    let config = registry::default::<dyn FusionConfig>(name)?;
    let request = FusionRequest {
        modalities,
        width,
        widths: &[],
        init,
    };
    <D as Backend<E>>::build::<Fusions>(&*config, request)
}

/// From raw modalities, `[batch, features of the modality]`, to one feature each, `[batch, width]`, and from what a fusion makes of these
/// to what the head is given.
///
/// Most do the first half only. A backbone that goes on after the fusion, has several of them, or several rows for each sample in one
/// asks for its slots as it is built, by [`BackboneRequest::slot`], and writes [`run`](Self::run).
pub trait Backbone<E: Scalar, D: Backend<E>>: Parameters<E, D> {
    /// The part before the (first) fusion: encodes every modality. With `targets`, `[batch, outputs]` as of [`Targets::matrix`](crate::data::Targets::matrix),
    /// auxiliary losses are left in `pass`.
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>>;

    /// The whole way from raw modalities to what the linear map of the head is given, `[batch, output_dim]`. Default: the features of
    /// [`encode`](Self::encode), fused.
    fn run(
        &self,
        x: &[Matrix<E, D>],
        targets: Option<&Matrix<E, D>>,
        slots: &Slots<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let features = self.encode(x, targets, pass)?;
        slots.fuse(0, &features, pass)
    }

    /// Width of the result of [`run`](Self::run), where the last fusion gives one of the width `fused`. Default: that.
    fn output_dim(&self, fused: usize) -> usize {
        fused
    }

    /// Called before each epoch of training, with its number from 0. Default: nothing changes from one to the next.
    fn begin_epoch(&mut self, _epoch: usize) {}

    /// Some rows, those at the places `batch` in `rows`, as they are learned from in one step of training, changed at random. They must
    /// follow from the seed, which is another one in each step, and from the numbers of the rows among all training rows alone. Default:
    /// `None`, they are learned from as they are.
    fn augmented(
        &self,
        _rows: &Split,
        _batch: &[usize],
        _numbers: &[usize],
        _seed: u64,
    ) -> Option<Split> {
        None
    }
}

/// The family of backbones.
pub struct Backbones;

impl Family for Backbones {
    type Request<'a, D: 'a> = BackboneRequest<'a, D>;
    type Product<E: Scalar, D: Backend<E>> = Box<dyn Backbone<E, D>>;
}

/// What a backbone is built for.
pub struct BackboneRequest<'a, D> {
    /// Number of features of each modality.
    pub modalities: &'a [usize],
    /// Number of classes or labels; 0 where a number is predicted.
    pub classes: usize,
    /// What the backbone is to propose, for a head that takes [proposals](Head::proposals).
    pub proposals: Option<&'a ProposalRows>,
    /// Makes the parameters.
    pub init: &'a mut Initializer<D>,
    /// Puts the next fusion into a slot and tells the width of what it gives, for the part after it. A backbone that does not ask has
    /// one slot, for a feature of its [width](BackboneConfig::width) per modality.
    pub slot: &'a mut FillSlot<'a, D>,
}

impl<D> BackboneRequest<'_, D> {
    /// The width of a region, where the second of two modalities is so many `regions` of an image, at least 1.
    ///
    /// # Errors
    /// [`Error::Config`] of the field `regions` of this backbone, if they do not divide it.
    pub fn region_width(&self, backbone: &'static str, regions: usize) -> Result<usize> {
        let modalities = self.modalities;
        match modalities {
            [_, image] if image.is_multiple_of(regions) => Ok(image / regions),
            _ => Err(Error::Config {
                plugin: backbone,
                field: "regions",
                expected: "a divisor of the width of the second of two modalities",
                got: format!("{regions} for modalities {modalities:?} wide"),
            }),
        }
    }
}

impl<D> BackboneRequest<'_, D> {
    /// Builds a backbone that stands inside this one. Its slots are those of the model; one that asks for none gets the one it has.
    ///
    /// # Errors
    /// Those of the backbone, and of fusions.
    pub fn build_inner<E: Scalar>(&mut self, config: &dyn BackboneConfig) -> Result<Inner<E, D>>
    where
        D: Backend<E>,
    {
        let (mut asked, mut last) = (0, None);
        let fill = &mut *self.slot;
        let mut pass_on = |slot: Slot, init: &mut Initializer<D>| -> Result<usize> {
            let width = fill(slot, init)?;
            (asked, last) = (asked + 1, Some(width));
            Ok(width)
        };
        let request = BackboneRequest {
            modalities: self.modalities,
            classes: self.classes,
            proposals: self.proposals,
            init: &mut *self.init,
            slot: &mut pass_on,
        };
        let backbone = <D as Backend<E>>::build::<Backbones>(config, request)?;
        let fused = match last {
            Some(width) => width,
            None => {
                let widths = vec![config.width(); self.modalities.len()];
                (self.slot)(Slot::new("fusion", widths), self.init)?
            }
        };
        let width = backbone.output_dim(fused);
        Ok(Inner {
            backbone,
            width,
            asked,
        })
    }
}

/// A backbone inside another one.
pub struct Inner<E: Scalar, D: Backend<E>> {
    /// The backbone.
    pub backbone: Box<dyn Backbone<E, D>>,
    /// Width of what it hands to the head.
    pub width: usize,
    /// Slots that it asked for.
    pub asked: usize,
}

/// The configuration of a backbone; the backbone comes from [`Build<Backbones>`](equilibria_core::Build).
#[equilibria_core::typetag::serde(tag = "type")]
pub trait BackboneConfig: BuildAny<Backbones> + Debug + Send + Sync + dyn_clone::DynClone {
    /// Width of the encoded features.
    fn width(&self) -> usize;

    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Checks that it can be learned from targets of a kind. Default: from all but boxes, which take a backbone that proposes some.
    fn check_targets(&self, targets: TargetKind) -> Result<()> {
        let expected = "a backbone that proposes boxes, such as `imvotenet`, with the head `boxes`";
        let got = format!("one for {targets}");
        Error::require(targets != TargetKind::Boxes, "head", "type", expected, got)
    }

    /// Checks the numbers, from 1, of the modalities that are used, in their order. Default: any may be.
    ///
    /// # Errors
    /// [`Error::Config`] of the field `modalities` of the backbone, for what would stand in the place of something else.
    fn check_modalities(&self, _chosen: &[usize]) -> Result<()> {
        Ok(())
    }

    /// What the state dict of the original system calls a parameter of a model with this backbone, by its name here. Several arrays that
    /// follow one another here are joined by `+`; `*` stands for all numbers from 1. Default: the name here, there is no original.
    fn original_name(&self, name: &str) -> String {
        name.to_owned()
    }
}

equilibria_core::kind!(dyn BackboneConfig, "backbone", validate);

/// A backbone by name, with its default configuration: for modalities of so many features each, and so many classes or labels.
///
/// Fusions are the caller's: whatever fills its slots gives results of the [width that it needs](Slot::output) or, where any will do, as
/// wide as the widest feature.
///
/// # Errors
/// [`Error::UnknownPlugin`], which names the nearest known one, and those of the backbone.
pub fn backbone<E: Scalar, D: Backend<E>>(
    name: &str,
    modalities: &[usize],
    classes: usize,
    init: &mut Initializer<D>,
) -> Result<Box<dyn Backbone<E, D>>> {
    let config = registry::default::<dyn BackboneConfig>(name)?;
    let mut slot = |slot: Slot, _: &mut Initializer<D>| -> Result<usize> {
        let widest = slot.widths.iter().copied().max();
        Ok(slot.output.or(widest).unwrap_or(0))
    };
    let request = BackboneRequest {
        modalities,
        classes,
        proposals: None,
        init,
        slot: &mut slot,
    };
    <D as Backend<E>>::build::<Backbones>(&*config, request)
}

/// Where data comes from.
#[equilibria_core::typetag::serde(tag = "type")]
pub trait DataSource: Debug + Send + Sync + dyn_clone::DynClone {
    /// Reads the whole data set.
    fn load(&self) -> Result<DataSet, DataError>;

    /// Reads the modalities of one split, whose labels may be missing. Default: those of the whole data set, with labels.
    fn features(&self, part: SplitName) -> Result<Vec<Table>, DataError> {
        Ok(self.load()?.split(part).modalities.clone())
    }

    /// Reads one split with its targets for a model trained on the given classes. Default: that of the whole data set, which
    /// must have the same classes.
    ///
    /// # Errors
    /// [`DataError::OtherClasses`] for data with other classes.
    fn split(&self, part: SplitName, classes: &[String]) -> Result<Split, DataError> {
        let set = self.load()?;
        if set.classes != classes {
            return Err(DataError::other_classes(set.name, &set.classes, classes));
        }
        Ok(set.split(part).clone())
    }

    /// [`load`](Self::load) where rows need not be in memory: what is read from files batch by batch may keep files in the folder
    /// `scratch`. Default: they are in memory.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    fn samples(&self, _scratch: &Path) -> Result<Samples, DataError> {
        Ok(self.load()?.into())
    }

    /// [`features`](Self::features) likewise.
    ///
    /// # Errors
    /// Those of [`features`](Self::features).
    fn stored_features(
        &self,
        part: SplitName,
        _scratch: &Path,
    ) -> Result<Box<dyn Features>, DataError> {
        Ok(Box::new(self.features(part)?))
    }

    /// [`split`](Self::split) likewise.
    ///
    /// # Errors
    /// Those of [`split`](Self::split).
    fn stored_split(
        &self,
        part: SplitName,
        classes: &[String],
        _scratch: &Path,
    ) -> Result<Box<dyn Rows>, DataError> {
        Ok(Box::new(self.split(part, classes)?))
    }

    /// Whether rows are read batch by batch. Default: they are in memory.
    fn streams(&self) -> bool {
        false
    }

    /// What modalities and their features are called, where the data says so, of each split that is there; by this a trained
    /// model notices other features, or another order of them. Default: nothing is known.
    ///
    /// # Errors
    /// [`DataError`] for lists that cannot be read.
    fn names(&self) -> Result<Vec<Names>, DataError> {
        Ok(Vec::new())
    }

    /// Whether features are scaled to [0, 1], each by itself. Default: they are; not where they have a structure that this would break,
    /// such as a matrix.
    fn scaled(&self) -> bool {
        true
    }

    /// The rows of the training split that the data sets aside for validation, where it does. Default: none, a share of the rows is taken
    /// at random.
    fn validation(&self) -> Option<Range<usize>> {
        None
    }

    /// What errors call a row, from 0, of modality K, from 1, or of the targets where there is none: the file that its column, from 1, comes
    /// from, and its row there, from 1. Default: the modality by number, and the row in the data set.
    fn place(
        &self,
        part: SplitName,
        modality: Option<usize>,
        (row, _column): (usize, usize),
    ) -> (String, usize) {
        let what = modality.map_or("targets".to_owned(), |k| format!("modality {k}"));
        (format!("{what} [{part}]"), row + 1)
    }
}

equilibria_core::kind!(dyn DataSource, "data");

/// A data source by name, with its default configuration.
///
/// # Errors
/// [`Error::UnknownPlugin`], which names the nearest known one.
pub fn data(name: &str) -> Result<Box<dyn DataSource>> {
    registry::default(name)
}

/// Backbone, fusion, linear map and head.
pub struct Model<E: Scalar, D: Backend<E>> {
    /// Encodes each modality.
    pub backbone: Box<dyn Backbone<E, D>>,
    /// Fuse the encoded modalities: one for each slot of the backbone.
    pub fusion: Slots<E, D>,
    /// From what the backbone makes of the fused feature to the outputs; its parameters are called `head`. `None` where the backbone makes
    /// the outputs.
    pub linear: Option<Linear<E, D>>,
    /// What the outputs mean.
    pub head: Box<dyn Head>,
}

impl<E: Scalar, D: Backend<E>> Model<E, D> {
    /// Number of outputs per row.
    pub fn width(&self) -> usize {
        let made = || self.backbone.output_dim(self.fusion.output_dim());
        self.linear.as_ref().map_or_else(made, Linear::outputs)
    }

    /// What the head gets of every row, `[batch, outputs]`. With `targets`, auxiliary losses are left in `pass`.
    pub fn outputs(
        &self,
        x: &[Matrix<E, D>],
        targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let last = self.backbone.run(x, targets, &self.fusion, pass)?;
        Ok(match &self.linear {
            Some(linear) => pass.run(&last, |last| linear.forward(last)),
            None => last,
        })
    }

    /// What the outputs are to be for such targets, `[batch, outputs]`: on the scale on which the head learns.
    ///
    /// # Errors
    /// Those of [`Targets::matrix`].
    pub fn targets(&self, device: &D, targets: &Targets) -> Result<Matrix<E, D>> {
        self.head.scaled(targets).matrix(device, self.width())
    }

    /// The loss of the head, mean over the batch: `[1, 1]`, without auxiliary losses, for [`targets`](Self::targets).
    pub fn loss(
        &self,
        outputs: &Matrix<E, D>,
        targets: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let loss = <D as Backend<E>>::build::<Losses>(&*self.head, ())?;
        pass.try_run(outputs, |outputs| loss(outputs, targets))
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Model<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        use equilibria_core::parameters::join;
        self.backbone.visit(&join(path, "backbone"), visitor);
        self.fusion.visit(&join(path, "fusion"), visitor);
        self.linear.visit(&join(path, "head"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        use equilibria_core::parameters::join;
        self.backbone.visit_mut(&join(path, "backbone"), visitor);
        self.fusion.visit_mut(&join(path, "fusion"), visitor);
        self.linear.visit_mut(&join(path, "head"), visitor);
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        use equilibria_core::parameters::join;
        self.backbone
            .visit_statistics(&join(path, "backbone"), visitor);
        self.fusion.visit_statistics(&join(path, "fusion"), visitor);
    }

    fn project(&mut self) -> Result<()> {
        Parameters::<E, D>::project(&mut *self.backbone)?;
        Parameters::<E, D>::project(&mut self.fusion)
    }
}
