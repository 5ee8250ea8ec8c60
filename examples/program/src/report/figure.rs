//! A chart with its caption and legend.

use super::page::{escape, number};
use crate::plot::{self, Chart, Line, Scale};

/// A figure of the lines that have something to show; empty if none has.
pub fn figure(title: &str, [x, y]: [&str; 2], scale: Scale, lines: Vec<Line>) -> String {
    let shown = |line: &Line| line.points.iter().any(|&(_, value)| scale.shows(value));
    let lines: Vec<Line> = lines.into_iter().filter(shown).collect();
    let chart = Chart {
        x,
        y,
        scale,
        lines: &lines,
    };
    if lines.is_empty() {
        return String::new();
    }
    let ends = lines.iter().filter_map(|line| {
        let (at, value) = line.points.last()?;
        Some(format!("; {}: {} at {at}", line.label, number(*value)))
    });
    let description = format!("{title}. {y} against {x}{}", ends.collect::<String>());
    let picture = plot::inline(&chart, &description);
    frame(title, picture, &legend(&lines))
}

/// A picture with its caption. A picture that could not be drawn says so in its place: it must not cost the page.
pub fn frame(
    title: &str,
    picture: Result<String, Box<dyn std::error::Error>>,
    below: &str,
) -> String {
    let picture = picture.unwrap_or_else(|error| {
        let error = escape(&error.to_string());
        format!("<p>This chart could not be drawn: {error}</p>\n")
    });
    let title = escape(title);
    format!("<figure>\n<figcaption>{title}</figcaption>\n{picture}{below}</figure>\n")
}

fn legend(lines: &[Line]) -> String {
    let mut legend = String::from("<ul class=\"legend\">\n");
    for (index, line) in lines.iter().enumerate() {
        let plotters::style::RGBColor(r, g, b) = plot::color(index);
        let label = escape(&line.label);
        // The key is 20 pixels long, and so is a line without gaps.
        let (dash, gap) = plot::dashes(index).unwrap_or((20, 0));
        let period = dash + gap;
        legend += &format!(
            "<li><span class=\"key\" style=\"background: repeating-linear-gradient(to right, rgb({r} {g} {b}) 0 {dash}px, \
             transparent {dash}px {period}px)\"></span>{label}</li>\n"
        );
    }
    legend + "</ul>\n"
}
