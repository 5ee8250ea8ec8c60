//! Charts of residuals, as SVG files.

use std::path::Path;

use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::run_folder::write_whole;

/// A line of the chart: evaluations and residuals.
pub struct Line {
    /// What the legend calls it.
    pub label: String,
    /// Points `(evaluations, residual)`; those that have no logarithm are left out.
    pub points: Vec<(usize, f64)>,
}

/// Width and height in pixels.
const SIZE: (u32, u32) = (800, 500);

/// Colors that can be told apart on white, also by the color-blind (M. Okabe, K. Ito, 2008).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    BLACK,
];

/// Draws the residual, on a logarithmic scale, against evaluations, and writes the file whole or not at all.
///
/// # Errors
/// [`Error::Plot`], and [`Error::Io`] if the file cannot be written.
pub fn write(path: &Path, title: &str, lines: &[Line]) -> Result<()> {
    let mut svg = String::new();
    draw(&mut svg, title, lines).map_err(|error| Error::Plot {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    write_whole(path, &svg)
}

fn draw(svg: &mut String, title: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (last, smallest, largest) = extent(lines);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(1..last, (smallest..largest).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("evaluations per sample")
        .y_desc("largest residual")
        .y_label_formatter(&|residual| format!("{residual:.0e}"))
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let points = line.points.iter().copied().filter(has_logarithm);
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

fn has_logarithm(point: &(usize, f64)) -> bool {
    point.1 > 0.0 && point.1.is_finite()
}

/// The last evaluation, and the powers of ten around all residuals.
fn extent(lines: &[Line]) -> (usize, f64, f64) {
    let points = lines.iter().flat_map(|line| &line.points);
    let (mut last, mut low, mut high) = (2, 0.0_f64, -1.0_f64);
    for (index, &(evaluations, residual)) in points.filter(|p| has_logarithm(p)).enumerate() {
        let exponent = residual.log10();
        last = last.max(evaluations);
        (low, high) = match index {
            0 => (exponent, exponent),
            _ => (low.min(exponent), high.max(exponent)),
        };
    }
    let floor = low.min(high).floor();
    // At least one decade, and none that a double does not hold.
    let ceiling = high.ceil().max(floor + 1.0).min(308.0);
    (
        last,
        10.0_f64.powf(floor.max(-307.0)),
        10.0_f64.powf(ceiling),
    )
}
