//! Where a fusion plugs into a backbone.

use equilibria_core::parameters::join;
use equilibria_core::{
    Backend, Error, Matrix, Parameters, Report, Result, SampleReport, Scalar, Status,
};

use crate::layers::modules::Linear;
use crate::layers::Initializer;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

/// What a backbone hands to a fusion, and what it needs back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name among several of a backbone, e.g. `attention`.
    pub name: &'static str,
    /// Width of each feature. Where they differ, each is projected by an affine map of its own.
    pub widths: Vec<usize>,
    /// The width that features of different widths are projected to. Default: the largest of them.
    pub common: Option<usize>,
    /// The width of the result that the backbone needs; the result of a fusion that gives another is projected. Default: any will do.
    pub output: Option<usize>,
    /// Rows for each sample, such as the regions of an image: those of one sample follow one another.
    pub rows: usize,
}

impl Slot {
    /// A slot for features of these widths, one row per sample.
    pub fn new(name: &'static str, widths: impl Into<Vec<usize>>) -> Self {
        Self {
            name,
            widths: widths.into(),
            common: None,
            output: None,
            rows: 1,
        }
    }
}

/// Puts a fusion into a slot and tells the width of what it makes of the features.
pub type FillSlot<'a, D> = dyn FnMut(Slot, &mut Initializer<D>) -> Result<usize> + 'a;

/// A slot and the fusion in it.
pub struct Filled<E: Scalar, D: Backend<E>> {
    slot: Slot,
    /// One for each feature; none where all have the same width.
    project: Vec<Linear<E, D>>,
    fusion: Box<dyn Fusion<E, D>>,
    /// To the width that the backbone needs, if it is another than that of the fusion.
    deliver: Option<Linear<E, D>>,
}

impl<E: Scalar, D: Backend<E>> Filled<E, D> {
    /// The slot with a new fusion, and new projections where widths differ, which start as PyTorch's affine maps.
    ///
    /// # Errors
    /// Those of the fusion.
    pub fn new(slot: Slot, config: &dyn FusionConfig, init: &mut Initializer<D>) -> Result<Self> {
        let largest = slot.widths.iter().copied().max().unwrap_or(0);
        let differ = slot.widths.iter().any(|&width| width != largest) && !config.takes_widths();
        let width = match differ {
            true => slot.common.unwrap_or(largest),
            false => largest,
        };
        let mut project = Vec::new();
        for &own in slot.widths.iter().filter(|_| differ) {
            project.push(Linear::uniform(width, own, init)?);
        }
        let request = FusionRequest {
            modalities: slot.widths.len(),
            width,
            widths: if differ { &[] } else { &slot.widths },
            init,
        };
        let fusion = <D as Backend<E>>::build::<Fusions>(config, request)?;
        let given = fusion.output_dim();
        let deliver = match slot.output.filter(|&needed| needed != given) {
            Some(needed) => Some(Linear::uniform(needed, given, init)?),
            None => None,
        };
        Ok(Self {
            slot,
            project,
            fusion,
            deliver,
        })
    }

    /// A fusion for one row per sample, whose features need no projection.
    pub fn plain(fusion: Box<dyn Fusion<E, D>>) -> Self {
        Self {
            slot: Slot::new("fusion", []),
            project: Vec::new(),
            fusion,
            deliver: None,
        }
    }

    /// Width of the result.
    pub fn output_dim(&self) -> usize {
        let deliver = self.deliver.as_ref().map(Linear::outputs);
        deliver.unwrap_or_else(|| self.fusion.output_dim())
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let x = self.projected(x, pass)?;
        x.iter().for_each(|x| pass.show("features", x));
        let fused = self.fusion.fuse(&x, pass)?;
        Ok(match &self.deliver {
            Some(deliver) => pass.run(&fused, |fused| deliver.forward(fused)),
            None => fused,
        })
    }

    fn projected(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Vec<Matrix<E, D>>> {
        if self.project.is_empty() {
            return Ok(x.to_vec());
        }
        if x.len() != self.project.len() {
            return Err(Error::Shape {
                what: format!("the features in the slot `{}`", self.slot.name),
                expected: format!("{} matrices", self.project.len()),
                got: x.len().to_string(),
            });
        }
        let maps = self.project.iter().zip(x);
        Ok(maps
            .map(|(map, x)| pass.run(x, |x| map.forward(x)))
            .collect())
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Filled<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.project.visit(&join(path, "project"), visitor);
        self.fusion.visit(path, visitor);
        self.deliver.visit(&join(path, "deliver"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.project.visit_mut(&join(path, "project"), visitor);
        self.fusion.visit_mut(path, visitor);
        self.deliver.visit_mut(&join(path, "deliver"), visitor);
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        self.fusion.visit_statistics(path, visitor);
    }

    fn project(&mut self) -> Result<()> {
        Parameters::<E, D>::project(&mut *self.fusion)
    }
}

/// The fusions of a model, one for each slot of its backbone.
///
/// Where there is one slot, its parameters have the names that the fusion gives them; of several, each has the name of its slot before
/// them, and so have its equilibria in reports.
pub struct Slots<E: Scalar, D: Backend<E>>(pub Vec<Filled<E, D>>);

impl<E: Scalar, D: Backend<E>> From<Box<dyn Fusion<E, D>>> for Slots<E, D> {
    fn from(fusion: Box<dyn Fusion<E, D>>) -> Self {
        Self(vec![Filled::plain(fusion)])
    }
}

impl<E: Scalar, D: Backend<E>> Slots<E, D> {
    /// Fuses the features of the slot of this number, from 0, `[batch · rows, width]` each. Solves and penalties are left in `pass`; the
    /// solve of a sample is the worst of those of its rows.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such slot, and those of the fusion.
    pub fn fuse(
        &self,
        number: usize,
        x: &[Matrix<E, D>],
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let filled = self.0.get(number).ok_or_else(|| Error::Missing {
            what: format!("slot {} of the backbone", number + 1),
            remedy: "build a fusion for every slot of a backbone",
        })?;
        let (rows, first) = (filled.slot.rows.max(1), pass.solves.len());
        let samples = pass.samples.clone();
        if rows > 1 {
            let each = samples.iter().flatten();
            let each = each.flat_map(|&sample| (0..rows).map(move |row| sample * rows + row));
            pass.samples = samples.is_some().then(|| each.collect());
        }
        let fused = filled.fuse(x, pass);
        pass.samples = samples;
        for solve in &mut pass.solves[first..] {
            if self.0.len() > 1 {
                solve.name = join(filled.slot.name, &solve.name);
            }
            solve.report = worst_rows(std::mem::take(&mut solve.report), rows);
        }
        fused
    }

    /// Width of what the last slot gives; 0 where there is none.
    pub fn output_dim(&self) -> usize {
        self.0.last().map_or(0, Filled::output_dim)
    }

    /// [`Fusion::differences`] of the first slot.
    ///
    /// # Errors
    /// Those of the fusion.
    pub fn differences(&self, x: &[Matrix<E, D>], steps: usize) -> Result<Option<Vec<Vec<f64>>>> {
        let Some(filled) = self.0.first() else {
            return Ok(None);
        };
        let x = filled.projected(x, &mut Pass::evaluation())?;
        filled.fusion.differences(&x, steps)
    }

    /// [`Fusion::memory`] of all slots.
    pub fn memory(&self) -> Vec<(String, Vec<E>)> {
        self.entries(|filled| filled.fusion.memory())
    }

    /// [`Fusion::memory_of`] of all slots.
    pub fn memory_of(&self, of: &dyn Fn(usize) -> bool) -> Vec<(String, Vec<E>)> {
        self.entries(|filled| {
            let rows = filled.slot.rows.max(1);
            filled.fusion.memory_of(&|row| of(row / rows))
        })
    }

    /// What fusions remember, with the names of their slots.
    fn entries(
        &self,
        of_slot: impl Fn(&Filled<E, D>) -> Vec<(String, Vec<E>)>,
    ) -> Vec<(String, Vec<E>)> {
        let mut entries = Vec::new();
        for filled in &self.0 {
            let own = of_slot(filled).into_iter();
            entries.extend(own.map(|(name, values)| (join(&self.path("", filled), &name), values)));
        }
        entries
    }

    /// [`Fusion::remember`] of the slot whose entry it is.
    pub fn remember(&self, name: &str, values: Vec<E>) {
        let own = self.0.iter().find_map(|filled| match self.0.len() {
            1 => Some((filled, name)),
            _ => {
                let rest = name.strip_prefix(filled.slot.name)?;
                Some((filled, rest.strip_prefix('.')?))
            }
        });
        if let Some((filled, name)) = own {
            filled.fusion.remember(name, values);
        }
    }

    fn path(&self, path: &str, filled: &Filled<E, D>) -> String {
        match self.0.len() {
            1 => path.to_owned(),
            _ => join(path, filled.slot.name),
        }
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Slots<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        for filled in &self.0 {
            filled.visit(&self.path(path, filled), visitor);
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        let several = self.0.len() > 1;
        for filled in &mut self.0 {
            let own = match several {
                true => join(path, filled.slot.name),
                false => path.to_owned(),
            };
            filled.visit_mut(&own, visitor);
        }
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        for filled in &self.0 {
            filled.visit_statistics(&self.path(path, filled), visitor);
        }
    }

    fn project(&mut self) -> Result<()> {
        (self.0.iter_mut()).try_for_each(Parameters::<E, D>::project)
    }
}

/// Of each so many rows, that with the largest relative residual, those that have not converged before all others; it is charged the
/// evaluations of the row with the most.
fn worst_rows(report: Report, rows: usize) -> Report {
    if rows <= 1 {
        return report;
    }
    let worst = |group: &[SampleReport]| {
        let rank = |s: &SampleReport| (s.status != Status::Converged, s.relative_residual);
        let worst = group.iter().max_by(|a, b| {
            let (a, b) = (rank(a), rank(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let most = group.iter().map(|sample| sample.evaluations).max();
        worst.map(|worst| SampleReport {
            evaluations: most.unwrap_or(worst.evaluations),
            ..worst.clone()
        })
    };
    Report {
        samples: report.samples.chunks(rows).filter_map(worst).collect(),
    }
}
