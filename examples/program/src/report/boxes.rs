//! Box plots, one box under the other with its name above, so that names of any length fit a narrow page.

use std::ops::RangeInclusive;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::page::printable;
use crate::plot;

/// Values of one box.
pub struct Group<'a> {
    /// What stands above the box.
    pub name: &'a str,
    /// Finite values, in ascending order.
    pub sorted: &'a [f64],
}

/// Width of a plot, height of a row, and height of the axis, in pixels.
const WIDTH: u32 = 440;
const ROW: u32 = 46;
const AXIS: u32 = 56;

/// Letters of a name that find room in a row.
const NAME: usize = 48;

/// Up to this many values are drawn one by one, beside the box.
const SINGLE: usize = 30;

/// Draws a box from the lower to the upper quartile with the median inside, and whiskers to the last values within 1.5
/// times the height of the box (J. W. Tukey, Exploratory Data Analysis, 1977). Values are dots; of more than 30, those
/// beyond the whiskers alone.
///
/// # Errors
/// What the drawing library says.
pub fn draw(
    metric: &str,
    groups: &[Group<'_>],
    description: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let all = || groups.iter().flat_map(|group| group.sorted.iter().copied());
    let (low, high) = plot::room(all());
    let label = plot::decimal_label(low, high);
    let rows = groups.len();
    let size = (WIDTH, ROW * rows as u32 + AXIS);
    plot::picture(size, description, |area| {
        let mut context = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(48)
            .build_cartesian_2d(low..high, 0.0..rows as f64)?;
        context
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .label_style(("sans-serif", 17))
            .max_light_lines(1)
            .x_labels(5)
            .x_desc(metric.chars().map(printable).collect::<String>())
            .x_label_formatter(&label)
            .draw()?;
        for (index, group) in groups.iter().enumerate() {
            // From the top down.
            draw_row(&mut context, group, low, (rows - 1 - index) as f64)?;
        }
        area.present()?;
        Ok(())
    })
}

/// What rows are drawn on.
type Axes<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws a name, which begins at `left`, and in the lower two thirds of the row the box with its dots.
fn draw_row(
    context: &mut Axes<'_>,
    group: &Group<'_>,
    left: f64,
    bottom: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let at = |share: f64| bottom + share;
    let name = Text::new(shortened(group.name), (left, at(0.92)), ("sans-serif", 17));
    context.draw_series([name])?;
    let Some(summary) = Summary::of(group.sorted) else {
        return Ok(());
    };
    let color = plot::color(0);
    let line = color.stroke_width(2);
    let [least, lower, median, upper, most] = summary.0;
    let frame = [(lower, at(0.12)), (upper, at(0.52))];
    context.draw_series([Rectangle::new(frame, color.mix(0.3).filled())])?;
    context.draw_series([
        PathElement::new([(least, at(0.32)), (lower, at(0.32))], line),
        PathElement::new([(upper, at(0.32)), (most, at(0.32))], line),
        PathElement::new([(median, at(0.12)), (median, at(0.52))], line),
    ])?;
    let dots = dots(group.sorted, least..=most).into_iter();
    context.draw_series(dots.map(|x| Circle::new((x, at(0.32)), 3, BLACK.mix(0.7).filled())))?;
    Ok(())
}

/// The values drawn one by one: of many, those beyond the whiskers.
fn dots(sorted: &[f64], whiskers: RangeInclusive<f64>) -> Vec<f64> {
    if sorted.len() <= SINGLE {
        return sorted.to_vec();
    }
    let beyond = |value: &f64| !whiskers.contains(value);
    let mut dots: Vec<f64> = sorted.iter().copied().filter(beyond).collect();
    // Equal ones cover each other, and there may be thousands.
    dots.dedup_by(|a, b| a.total_cmp(b).is_eq());
    dots
}

fn shortened(name: &str) -> String {
    let mut short: String = name.chars().map(printable).take(NAME).collect();
    if name.chars().count() > NAME {
        short.pop();
        short.push('…');
    }
    short
}

/// Whisker, quartile, median, quartile, whisker.
pub struct Summary(pub [f64; 5]);

impl Summary {
    /// Of values in ascending order; `None` if there are none.
    pub fn of(sorted: &[f64]) -> Option<Self> {
        let [lower, median, upper] = [0.25, 0.5, 0.75].map(|share| quantile(sorted, share));
        let (lower, median, upper) = (lower?, median?, upper?);
        let reach = 1.5 * (upper - lower);
        let least = sorted.iter().copied().find(|&x| x >= lower - reach);
        let most = sorted.iter().rev().copied().find(|&x| x <= upper + reach);
        // Interpolated quartiles may lie beyond the last value within reach.
        let (least, most) = (least?.min(lower), most?.max(upper));
        Some(Self([least, lower, median, upper, most]))
    }
}

/// The quantile with linear interpolation between values, which are in ascending order (type 7 of R. J. Hyndman, Y. Fan,
/// Sample quantiles in statistical packages, Am. Stat. 50, 1996).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + place.fract() * (above - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated_and_whiskers_end_at_values() {
        // Quartiles 2 and 4: whiskers reach as far as -1 and 7.
        let summary = Summary::of(&[1.0, 2.0, 3.0, 4.0, 50.0]).expect("values").0;
        assert!((summary.iter().zip([1.0, 2.0, 3.0, 4.0, 4.0])).all(|(a, b)| (a - b).abs() < 1e-12));
        let even = Summary::of(&[1.0, 2.0]).expect("values").0;
        assert!((even.iter().zip([1.0, 1.25, 1.5, 1.75, 2.0])).all(|(a, b)| (a - b).abs() < 1e-12));
        assert!(Summary::of(&[]).is_none());
    }

    #[test]
    fn long_names_are_cut_between_letters() {
        let name = "ä".repeat(60);
        assert_eq!(shortened(&name).chars().count(), NAME);
        assert!(shortened(&name).ends_with('…'));
        assert_eq!(shortened("deq"), "deq");
    }
}
