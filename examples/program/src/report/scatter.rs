//! Predicted numbers against the true ones.

use equilibria_fusion::metrics::Regression;
use plotters::prelude::*;

use super::figure::frame;
use super::page::{number, Page};
use crate::plot;

/// Rows that are drawn at most: more make a page heavy, and no clearer.
const DOTS: usize = 1000;

/// Width and height in pixels.
const SIZE: (u32, u32) = (440, 400);

/// Draws one dot per row, and the line on which predictions are right.
pub fn write(pairs: &Regression, page: &mut Page) {
    let all: Vec<(f64, f64)> = pairs.pairs().collect();
    let step = all.len().div_ceil(DOTS).max(1);
    let dots: Vec<(f64, f64)> = all.iter().step_by(step).copied().collect();
    page.heading("Predictions for the test rows");
    let which = match step {
        1 => "every row".to_owned(),
        _ => format!("{} of {} rows, evenly spaced", dots.len(), all.len()),
    };
    page.paragraph(&format!(
        "A dot for {which}. On the line the prediction is the true number; above it, it is too large."
    ));
    let description = format!(
        "Predicted against true number; mean absolute error {}",
        number(pairs.mean_absolute_error())
    );
    let title = "Predicted against true number";
    page.figures(&[frame(title, draw(&dots, &description), "")]);
}

fn draw(dots: &[(f64, f64)], description: &str) -> Result<String, Box<dyn std::error::Error>> {
    // The same interval on both axes, so that the line is the diagonal.
    let values = dots
        .iter()
        .flat_map(|&(prediction, label)| [prediction, label]);
    let (low, high) = plot::room(values);
    let label = plot::decimal_label(low, high);
    plot::picture(SIZE, description, |area| {
        let mut context = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(low..high, low..high)?;
        context
            .configure_mesh()
            .label_style(("sans-serif", 17))
            .max_light_lines(1)
            .x_labels(5)
            .y_labels(5)
            .x_desc("true")
            .y_desc("predicted")
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .draw()?;
        let ends = [(low, low), (high, high)];
        context.draw_series(LineSeries::new(ends, BLACK.mix(0.5)))?;
        let ink = plot::color(0).mix(0.6).filled();
        let points = dots.iter().map(|&(prediction, label)| (label, prediction));
        context.draw_series(points.map(|point| Circle::new(point, 3, ink)))?;
        area.present()?;
        Ok(())
    })
}
