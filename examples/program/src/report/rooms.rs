//! Boxes that were found in rooms, and those that are there.

use equilibria_fusion::data::{Samples, Tables};
use equilibria_fusion::detection::{Judged, OrientedBox, Proposal, SceneRows};
use plotters::prelude::*;

use super::figure::frame;
use super::page::{number, printable, Cell, Page};
use crate::plot;

/// Rooms that are drawn.
const ROOMS: usize = 4;

/// Points of a room that are drawn at most.
const POINTS: usize = 600;

/// Width and height in pixels.
const SIZE: (u32, u32) = (440, 440);

/// Boxes are drawn that are objects more likely than not.
const SURE: f64 = 0.5;

/// Writes the average precision of every class, and draws some rooms from above.
pub fn write(judged: &Judged, data: &Samples, page: &mut Page) {
    let classes = &judged.truth.classes;
    page.heading("Boxes in the test rows");
    page.paragraph("One row per class; the longer the bar, the larger the average precision. A predicted box is right if it shares more than a quarter, or half, of the volume of both with a true box that no surer one has found.");
    let row = |(class, name): (usize, &String)| {
        let cell = |at: usize| {
            let share = judged.precision[at][class];
            let percent = share.map_or(f64::NAN, |share| 100.0 * share);
            Cell::bar(number(percent), share.unwrap_or(0.0))
        };
        let own =
            |boxes: &[(OrientedBox, usize)]| boxes.iter().filter(|(_, of)| *of == class).count();
        let count: usize = judged.truth.rows.iter().map(|boxes| own(boxes)).sum();
        (name.clone(), vec![cell(0), cell(1), Cell::new(count)])
    };
    let rows: Vec<_> = classes.iter().enumerate().map(row).collect();
    let head = ["class", "AP@0.25, %", "AP@0.5, %", "boxes"];
    page.table("Average precision by class", &head, &rows);

    page.paragraph(&format!(
        "The first {} rooms from above, forward is up: points in gray, true boxes with wide lines, and those that were found, of a probability above a half, with thin ones. A line across a corner is in front. Each class has its color.",
        judged.proposals.len().min(ROOMS)
    ));
    let room = |room: usize| {
        let found: Vec<&Proposal> = judged.proposals[room]
            .iter()
            .filter(|own| own.objectness > SURE)
            .collect();
        let drawn = Room {
            points: points(data, room),
            truth: &judged.truth.rows[room],
            found: &found,
        };
        let title = format!(
            "Row {}: {} boxes, {} found",
            room + 1,
            drawn.truth.len(),
            drawn.found.len()
        );
        frame(&title, drawn.draw(&title), &legend(classes))
    };
    let rooms: Vec<String> = (0..judged.proposals.len().min(ROOMS)).map(room).collect();
    page.figures(&rooms);
}

/// Some points of a test room, x and y, evenly spaced.
fn points(data: &Samples, room: usize) -> Vec<(f64, f64)> {
    let rows = SceneRows::of(&data.test.features().columns());
    let tables = data.test.tables(&[room]).map(Tables::into_owned);
    // A room that can no longer be read is drawn without its points.
    let (Some(rows), Ok(tables)) = (rows, tables) else {
        return Vec::new();
    };
    let scenes = rows.scenes(&tables, &[0]).next();
    let points = scenes.map_or(Vec::new(), |scene| scene.points);
    let step = points.len().div_ceil(POINTS).max(1);
    let points = points.iter().step_by(step);
    points.map(|&[x, y, _]| (x, y)).collect()
}

/// The names of classes in their colors.
fn legend(classes: &[String]) -> String {
    let mut legend = String::from("<ul class=\"legend\">\n");
    for (class, name) in classes.iter().enumerate() {
        let RGBColor(r, g, b) = plot::color(class);
        let name = super::escape(name);
        legend += &format!(
            "<li><span class=\"key\" style=\"background: rgb({r} {g} {b})\"></span>{name}</li>\n"
        );
    }
    legend + "</ul>\n"
}

/// What is drawn of a room.
struct Room<'a> {
    points: Vec<(f64, f64)>,
    truth: &'a [(OrientedBox, usize)],
    found: &'a [&'a Proposal],
}

impl Room<'_> {
    fn draw(&self, description: &str) -> Result<String, Box<dyn std::error::Error>> {
        let [x, y] = self.axes();
        let description: String = description.chars().map(printable).collect();
        plot::picture(SIZE, &description, |area| {
            let mut context = ChartBuilder::on(area)
                .margin(8)
                .x_label_area_size(48)
                .y_label_area_size(64)
                .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
            context
                .configure_mesh()
                .disable_mesh()
                .label_style(("sans-serif", 17))
                .x_labels(5)
                .y_labels(5)
                .x_desc("x, m")
                .y_desc("y, m")
                .x_label_formatter(&plot::decimal_label(x.0, x.1))
                .y_label_formatter(&plot::decimal_label(y.0, y.1))
                .draw()?;
            let gray = BLACK.mix(0.25).filled();
            let dots = self.points.iter();
            context.draw_series(dots.map(|&point| Circle::new(point, 1, gray)))?;
            for (shape, class) in self.truth {
                let line = plot::color(*class).mix(0.45).stroke_width(6);
                context.draw_series([PathElement::new(outline(shape), line)])?;
            }
            for own in self.found {
                let line = plot::color(own.class).stroke_width(2);
                context.draw_series([PathElement::new(outline(&own.shape), line)])?;
                context.draw_series([PathElement::new(front(&own.shape), line)])?;
            }
            area.present()?;
            Ok(())
        })
    }

    /// Intervals of the same length, so that a meter is as long on both axes, in which everything has room.
    fn axes(&self) -> [(f64, f64); 2] {
        let corners = |shape: &OrientedBox| shape.footprint().map(|[x, y]| (x, y));
        let shapes = self.truth.iter().map(|(shape, _)| shape);
        let shapes = shapes.chain(self.found.iter().map(|own| &own.shape));
        let mut all: Vec<(f64, f64)> = shapes.flat_map(corners).collect();
        all.extend(&self.points);
        let x = plot::room(all.iter().map(|point| point.0));
        let y = plot::room(all.iter().map(|point| point.1));
        let half = 0.5 * (x.1 - x.0).max(y.1 - y.0);
        [x, y].map(|(low, high)| {
            let middle = 0.5 * (low + high);
            (middle - half, middle + half)
        })
    }
}

/// The edges of a box as seen from above, closed.
fn outline(shape: &OrientedBox) -> Vec<(f64, f64)> {
    let corners = shape.footprint().map(|[x, y]| (x, y));
    corners.into_iter().chain([corners[0]]).collect()
}

/// From the middle of the left side to the middle of the front: a line across the left front corner.
fn front(shape: &OrientedBox) -> Vec<(f64, f64)> {
    let [left, right, _, behind] = shape.footprint();
    let middle = |a: [f64; 2], b: [f64; 2]| (0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]));
    vec![middle(left, behind), middle(left, right)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_as_long_on_both_axes() {
        let shape = OrientedBox {
            center: [1.0, 2.0, 0.0],
            size: [4.0, 1.0, 1.0],
            heading: 0.0,
        };
        let room = Room {
            points: vec![(0.0, 2.0)],
            truth: &[(shape, 0)],
            found: &[],
        };
        let [x, y] = room.axes();
        assert!(((x.1 - x.0) - (y.1 - y.0)).abs() < 1e-12);
        assert!(x.0 < -1.0 && x.1 > 3.0 && y.0 < 1.5 && y.1 > 2.5);
        let svg = room.draw("a room").expect("a picture");
        assert!(svg.contains("aria-label=\"a room\""), "{svg}");
        assert_eq!(front(&shape), [(1.0, 2.5), (3.0, 2.0)]);
    }
}
