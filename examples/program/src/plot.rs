//! Charts of lines, as SVG: in files of their own, and inside pages.

use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordusize;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::run_folder::write_whole;

/// A line of a chart.
pub struct Line {
    /// What the legend calls it.
    pub label: String,
    /// Points `(evaluations, residual)` or the like; those the scale cannot show are left out.
    pub points: Vec<(usize, f64)>,
}

/// Some lines over the same axes.
pub struct Chart<'a> {
    /// What the horizontal axis counts, from 1.
    pub x: &'a str,
    /// What the vertical axis measures.
    pub y: &'a str,
    /// The vertical scale.
    pub scale: Scale,
    /// Drawn in this order, in the colors of [`color`] and with the [`Dashes`] of their number: a line that covers another one
    /// leaves it to be seen in the gaps.
    pub lines: &'a [Line],
}

/// The vertical scale of a chart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As far as the values go.
    Linear,
    /// From 0 to 1, with labels in percent.
    Share,
    /// Powers of ten.
    Logarithmic,
}

/// Width and height of a chart in a file, in pixels.
const SIZE: (u32, u32) = (800, 500);

/// Width and height of a chart in a page, where two fit side by side and one a telephone.
const INLINE_SIZE: (u32, u32) = (440, 300);

/// Colors that can be told apart, also by the color-blind, and have a contrast of 3 to white and to near black: those of
/// M. Okabe, K. Ito, 2008, that have, and others between.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(126, 91, 204),
    RGBColor(150, 115, 40),
    RGBColor(120, 120, 120),
];

/// What a line is broken into: lengths of a dash and of a gap in pixels; `None` for a line without gaps.
pub type Dashes = Option<(u32, u32)>;

/// Those of line number `index`.
pub fn dashes(index: usize) -> Dashes {
    [None, Some((8, 8)), Some((2, 6))][index % 3]
}

/// Lines of no more points than these have their points marked.
const MARKED: usize = 30;

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The color of line number `index`.
pub fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

/// Draws the residual, on a logarithmic scale, against evaluations, and writes the file whole or not at all.
///
/// # Errors
/// [`Error::Plot`], and [`Error::Io`] if the file cannot be written.
pub fn write(path: &Path, title: &str, lines: &[Line]) -> Result<()> {
    let chart = Chart {
        x: "evaluations per sample",
        y: "largest residual",
        scale: Scale::Logarithmic,
        lines,
    };
    let mut svg = String::new();
    draw_alone(&mut svg, title, &chart).map_err(|error| Error::Plot {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    write_whole(path, &svg)
}

fn draw_alone(svg: &mut String, title: &str, chart: &Chart<'_>) -> Drawn {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    draw(&area.titled(title, ("sans-serif", 20))?, chart, 12, true)
}

/// A chart without title, legend and background, with lines and letters in the color of the text around it.
///
/// # Errors
/// What the drawing library says.
pub fn inline(chart: &Chart<'_>, description: &str) -> Result<String, Box<dyn std::error::Error>> {
    picture(INLINE_SIZE, description, |area| {
        draw(area, chart, 17, false)
    })
}

/// An SVG element of a page. What is drawn in [`BLACK`] has the color of the text around it; the description is for
/// those who cannot see it.
///
/// # Errors
/// Those of `draw`.
pub fn picture(
    (width, height): (u32, u32),
    description: &str,
    draw: impl FnOnce(&Drawing<'_>) -> Drawn,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    draw(&SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area())?;
    // The drawing goes on behind its first tag, which has no room for attributes of ours.
    let (_, drawing) = svg.split_once('>').unwrap_or_default();
    // Only attributes stand between quotes; in text they are escaped.
    let drawing = drawing.replace("\"#000000\"", "\"currentColor\"");
    let description = crate::report::escape(description);
    Ok(format!(
        "<svg role=\"img\" aria-label=\"{description}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">{drawing}"
    ))
}

/// An interval that holds all values, with room at its ends; that around 1 if there are none.
pub fn room(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let pairs = values.map(|value| (value, value));
    let extent = pairs.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)));
    let (low, high) = extent.unwrap_or((1.0, 1.0));
    // Something even for a constant, and more than the rounding of labels.
    let room = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
    (low - room, high + room)
}

/// Writes numbers with enough digits to tell a tenth of an interval.
pub fn decimal_label(low: f64, high: f64) -> impl Fn(&f64) -> String {
    let decimals = (1.0 - (high - low).log10()).ceil().clamp(0.0, 12.0) as usize;
    move |value| format!("{value:.decimals$}")
}

fn draw(area: &Drawing<'_>, chart: &Chart<'_>, letters: u32, legend: bool) -> Drawn {
    let ((low, high), last) = (chart.vertical_extent(), chart.last());
    match chart.scale {
        Scale::Logarithmic => {
            let label = |value: &f64| format!("{value:.0e}");
            let y = (low..high).log_scale();
            draw_on(area, chart, (last, y, &label), letters, legend)
        }
        Scale::Share => {
            let label = |value: &f64| format!("{:.0} %", 100.0 * value);
            draw_on(area, chart, (last, low..high, &label), letters, legend)
        }
        Scale::Linear => {
            let label = decimal_label(low, high);
            draw_on(area, chart, (last, low..high, &label), letters, legend)
        }
    }
}

/// How numbers of the vertical axis are written.
type Label<'a> = &'a dyn Fn(&f64) -> String;

/// Draws on axes: the last number of the horizontal one, the range of the vertical one, and how that is labeled.
fn draw_on<Y: AsRangedCoord<Value = f64>>(
    area: &Drawing<'_>,
    chart: &Chart<'_>,
    (last, y, label): (usize, Y, Label<'_>),
    letters: u32,
    legend: bool,
) -> Drawn
where
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut context = ChartBuilder::on(area)
        .margin(10)
        // Half of the last number stands beyond the axis.
        .margin_right(10 + letters)
        .x_label_area_size(2 * letters + 14)
        .y_label_area_size(4 * letters + 10)
        .build_cartesian_2d(1..last, y)?;
    context
        .configure_mesh()
        .label_style(("sans-serif", letters))
        .max_light_lines(1)
        .x_labels(6)
        .y_labels(6)
        .x_desc(chart.x)
        .y_desc(chart.y)
        .y_label_formatter(&label)
        .draw()?;
    for (index, line) in chart.lines.iter().enumerate() {
        draw_line(&mut context, index, line, chart.scale)?;
    }
    if legend {
        context
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
    }
    Ok(area.present()?)
}

/// What lines are drawn on.
type Axes<'a, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordusize, Y>>;

/// Draws line number `index`, with its entry in the legend.
fn draw_line<Y: Ranged<ValueType = f64>>(
    context: &mut Axes<'_, Y>,
    index: usize,
    line: &Line,
    scale: Scale,
) -> Drawn {
    let points: Vec<_> = (line.points.iter().copied())
        .filter(|&(_, value)| scale.shows(value))
        .collect();
    let style = color(index).filled().stroke_width(2);
    let series = match dashes(index) {
        Some((dash, gap)) if points.len() > 1 => {
            context.draw_series(DashedLineSeries::new(points, dash, gap, style))?
        }
        _ => {
            let mark = if points.len() <= MARKED { 2 } else { 0 };
            context.draw_series(LineSeries::new(points, style).point_size(mark))?
        }
    };
    series
        .label(&line.label)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    Ok(())
}

impl Scale {
    /// Whether a value has a place on the scale.
    pub fn shows(self, value: f64) -> bool {
        // The library divides the ends of an axis by one another: their quotient must be a number too.
        let within = value.abs() <= 1e150;
        within && (self != Self::Logarithmic || value >= 1e-150)
    }
}

impl Chart<'_> {
    fn shown(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let points = self.lines.iter().flat_map(|line| &line.points).copied();
        points.filter(|&(_, value)| self.scale.shows(value))
    }

    /// The last number on the horizontal axis.
    fn last(&self) -> usize {
        self.shown().map(|(x, _)| x).fold(2, usize::max)
    }

    /// What the vertical axis has to span.
    fn vertical_extent(&self) -> (f64, f64) {
        let values = self.shown().map(|(_, value)| (value, value));
        let extent = values.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)));
        let (low, high) = extent.unwrap_or((1.0, 1.0));
        match self.scale {
            Scale::Share => (0.0, 1.0),
            Scale::Linear => room([low, high].into_iter()),
            Scale::Logarithmic => {
                // A tenth of a decade at least keeps lines off the edge.
                let floor = (low.log10() - 0.1).floor();
                let ceiling = (high.log10() + 0.1).ceil();
                (10.0_f64.powf(floor), 10.0_f64.powf(ceiling))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of the W3C's guidelines for accessibility (WCAG 2.2).
    fn luminance(RGBColor(r, g, b): RGBColor) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            match c <= 0.04045 {
                true => c / 12.92,
                false => ((c + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn lines_stand_out_on_light_and_on_dark_pages() {
        for color in COLORS {
            let l = luminance(color);
            let light = 1.05 / (l + 0.05);
            let dark = (l + 0.05) / (luminance(RGBColor(22, 24, 28)) + 0.05);
            assert!(light >= 3.0 && dark >= 3.0, "{color:?}: {light} {dark}");
        }
    }

    #[test]
    fn a_picture_takes_the_color_of_the_text_but_leaves_the_text_alone() {
        let lines = [Line {
            label: String::new(),
            points: vec![(1, 0.5), (2, f64::NAN), (3, 0.25)],
        }];
        let chart = Chart {
            x: "\"#000000\"",
            y: "y",
            scale: Scale::Linear,
            lines: &lines,
        };
        let svg = inline(&chart, "a < b").expect("a picture");
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"a &lt; b\""));
        assert!(svg.contains("&quot;#000000&quot;") && svg.contains("currentColor"));
        assert!(!svg.contains("\"#000000\"") && !svg.contains("://"));
    }

    /// Of equal lines, each has parts that the later ones leave free.
    #[test]
    fn lines_that_cover_each_other_all_show() {
        let line = |label: &str| Line {
            label: label.to_owned(),
            points: (1..=50).map(|x| (x, 1.0)).collect(),
        };
        let lines = ["a", "b", "c"].map(line);
        let chart = Chart {
            x: "x",
            y: "y",
            scale: Scale::Linear,
            lines: &lines,
        };
        let svg = inline(&chart, "").expect("a picture");
        let strokes = |index| {
            let RGBColor(r, g, b) = color(index);
            svg.matches(&format!("\"#{r:02X}{g:02X}{b:02X}\"")).count()
        };
        assert_eq!(strokes(0), 1);
        // Some 330 pixels in dashes and gaps of 8, and of 2 and 6.
        assert!((10..40).contains(&strokes(1)), "{}", strokes(1));
        assert!((20..80).contains(&strokes(2)), "{}", strokes(2));
    }

    #[test]
    fn a_chart_spans_what_it_can_show() {
        let span = |scale, values: &[f64]| {
            let points = (1..).zip(values.iter().copied()).collect();
            let lines = [Line {
                label: String::new(),
                points,
            }];
            let chart = Chart {
                x: "",
                y: "",
                scale,
                lines: &lines,
            };
            assert!(inline(&chart, "").is_ok());
            (chart.last(), chart.vertical_extent())
        };
        let (last, (low, high)) = span(Scale::Logarithmic, &[0.5, 0.02, 0.0]);
        assert_eq!(last, 2);
        assert!((low - 0.01).abs() < 1e-15 && (high - 1.0).abs() < 1e-15);
        let (last, (low, high)) = span(Scale::Linear, &[3.0, f64::INFINITY, 3.0]);
        assert_eq!(last, 3);
        assert!(low < 3.0 && 3.0 < high && high - low < 0.1);
        // Nothing to see, and nothing to trip over.
        span(Scale::Logarithmic, &[0.0, f64::NAN]);
        span(Scale::Linear, &[]);
        span(Scale::Logarithmic, &[f64::MIN_POSITIVE, f64::MAX]);
    }
}
