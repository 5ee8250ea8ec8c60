//! What a network says of a proposal, and in which columns.

use std::ops::Range;

use super::BoxCoding;

/// The columns of one proposal: objectness, offset of the center, scores and residuals of headings, scores and residuals of sizes, scores of
/// classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outputs {
    /// Classes of headings, which divide the circle.
    pub headings: usize,
    /// Classes of sizes.
    pub sizes: usize,
    /// Classes of boxes.
    pub classes: usize,
}

impl Outputs {
    /// For a coding whose classes of sizes are the classes of boxes.
    pub fn of(coding: &BoxCoding) -> Self {
        Self {
            headings: coding.headings,
            sizes: coding.mean_sizes.len(),
            classes: coding.mean_sizes.len(),
        }
    }

    /// No, and yes: whether there is an object.
    pub const OBJECTNESS: Range<usize> = 0..2;
    /// From the proposal to the middle of the box, in meters.
    pub const OFFSET: Range<usize> = 2..5;

    /// All columns.
    pub fn width(&self) -> usize {
        self.class_scores().end
    }

    /// A score for each class of headings.
    pub fn heading_scores(&self) -> Range<usize> {
        5..5 + self.headings
    }

    /// For each class of headings the angle from its middle, in units of half its width.
    pub fn heading_residuals(&self) -> Range<usize> {
        let start = self.heading_scores().end;
        start..start + self.headings
    }

    /// A score for each class of sizes.
    pub fn size_scores(&self) -> Range<usize> {
        let start = self.heading_residuals().end;
        start..start + self.sizes
    }

    /// For each class of sizes what the three edges have more than the mean of that class, in units of that mean.
    pub fn size_residuals(&self) -> Range<usize> {
        let start = self.size_scores().end;
        start..start + 3 * self.sizes
    }

    /// A score for each class.
    pub fn class_scores(&self) -> Range<usize> {
        let start = self.size_residuals().end;
        start..start + self.classes
    }
}
