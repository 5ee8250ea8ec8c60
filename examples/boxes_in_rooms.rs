//! Finds boxes in generated rooms, by points alone and with an image: `cargo run --release --example boxes_in_rooms -- none concat deq`.
//!
//! Boxes of both classes look alike, and only the image tells them apart. For every fusion that is named, `none` for points alone, a small
//! ImVoteNet is trained. Its mAP on rooms that it has not seen is printed; the boxes of the first of these are listed in `boxes-FUSION.csv` and
//! drawn from above in `boxes-FUSION.svg`, what is there in gray and what was found in colors.

use std::fmt::Write;

use dfdx::prelude::Cpu;
use equilibria::detection::generated_scenes::CLASSES;
use equilibria::detection::{
    decode, generated_scenes, judge, mean_average_precision, scheduled_momentum, BoxCoding,
    CandidateMask, Detector, DetectorSizes, Motion, OrientedBox, Outputs, Proposal, Scene,
};
use equilibria::optimizer::{Adam, Optimizer, OptimizerConfig};
use equilibria::points::{Level, Sampling};
use equilibria::{registry, FusionConfig, Initializer, Pass, Result};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::SeedableRng;

/// Points of a room.
const POINTS: usize = 512;
/// Boxes of a room at most.
const BOXES: usize = 8;
/// Rooms per step.
const BATCH: usize = 8;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let epochs = arguments.last().and_then(|last| last.parse().ok());
    arguments.truncate(arguments.len() - usize::from(epochs.is_some()));
    for name in arguments {
        let rooms = generated_scenes(160, POINTS, 1);
        let unseen = generated_scenes(80, POINTS, 2);
        let config = match name.as_str() {
            "none" => None,
            fusion => Some(registry::default::<dyn FusionConfig>(fusion)?),
        };
        let init = &mut Initializer::new(&Cpu::default(), 1);
        let mut detector = Detector::new(sizes(), config.as_deref(), init)?;
        train(&mut detector, &rooms, epochs.unwrap_or(40))?;
        let found = find(&detector, &unseen)?;
        let map = |threshold| {
            100.0 * mean_average_precision(&judge(&found, &unseen, CLASSES.len(), threshold))
        };
        println!(
            "{name}: mAP@0.25 {:.1} %, mAP@0.5 {:.1} %",
            map(0.25),
            map(0.5)
        );
        std::fs::write(format!("boxes-{name}.csv"), table(&found[0]))?;
        std::fs::write(format!("boxes-{name}.svg"), picture(&unseen[0], &found[0]))?;
    }
    Ok(())
}

fn coding() -> BoxCoding {
    BoxCoding {
        headings: 6,
        mean_sizes: vec![[0.6, 0.4, 0.5]; CLASSES.len()],
    }
}

fn sizes() -> DetectorSizes {
    let level = |centers, radius, neighbors, width| Level {
        sampling: Sampling {
            centers,
            radius,
            neighbors,
        },
        widths: vec![width / 2, width / 2, width],
    };
    DetectorSizes {
        levels: vec![
            level(256, 0.2, 16, 32),
            level(128, 0.4, 16, 64),
            level(64, 0.8, 8, 64),
            level(32, 1.2, 8, 64),
        ],
        width: 64,
        kept: 128,
        mask: CandidateMask::Vote,
        keep: 0.9,
        vote: 64,
        proposals: Sampling {
            centers: 32,
            radius: 0.3,
            neighbors: 16,
        },
        hidden: 64,
        outputs: Outputs::of(&coding(), CLASSES.len()),
        shares: [0.3, 0.3, 0.4],
    }
}

/// Adam with a falling rate, on rooms that are moved at random.
fn train(detector: &mut Detector<f32, Cpu>, rooms: &[Scene], epochs: usize) -> Result<()> {
    let adam = Adam {
        rate: 4e-3,
        ..Adam::default()
    };
    let mut optimizer = Optimizer::new(OptimizerConfig::Adam(adam))?;
    let (mut rng, mut order) = (
        StdRng::seed_from_u64(1),
        (0..rooms.len()).collect::<Vec<_>>(),
    );
    let steps = epochs * rooms.len() / BATCH;
    let mut step = 0;
    for epoch in 0..epochs {
        detector.set_momentum(scheduled_momentum(epoch));
        order.shuffle(&mut rng);
        let mut total = 0.0;
        for batch in order.chunks_exact(BATCH) {
            let moved = batch
                .iter()
                .map(|&room| rooms[room].clone().moved(Motion::random(&mut rng)));
            let scenes: Vec<Scene> = moved.collect();
            let mut pass = Pass::training(step as u64);
            let made = detector.forward(&Cpu::default(), &scenes, &mut pass)?;
            let loss = detector.loss(&scenes, &made, &coding(), BOXES, &mut pass)?;
            let mut outcome = pass.backward(&loss)?;
            total += outcome.loss;
            let rate = 1.0 - step as f64 / steps as f64;
            optimizer.step(detector, &mut outcome.gradients, rate, 1.0)?;
            step += 1;
        }
        eprintln!(
            "epoch {}: loss {:.2}",
            epoch + 1,
            total * BATCH as f64 / rooms.len() as f64
        );
    }
    Ok(())
}

/// The boxes of every room.
fn find(detector: &Detector<f32, Cpu>, rooms: &[Scene]) -> Result<Vec<Vec<Proposal>>> {
    let mut found = Vec::with_capacity(rooms.len());
    for scenes in rooms.chunks(BATCH) {
        let made = detector.forward(&Cpu::default(), scenes, &mut Pass::evaluation())?;
        for rows in detector.rows(&made) {
            found.push(decode(&rows, sizes().outputs, &coding(), 0.25, 0.05)?);
        }
    }
    Ok(found)
}

/// A line for each box.
fn table(found: &[Proposal]) -> String {
    let mut csv = "class,x,y,z,length,width,height,heading,objectness,probability\n".to_owned();
    for own in found {
        let OrientedBox {
            center: [x, y, z],
            size: [l, w, h],
            heading,
        } = own.shape;
        let (class, probability) = (CLASSES[own.class], own.probabilities[own.class]);
        let sure = own.objectness;
        let _ = writeln!(csv, "{class},{x:.3},{y:.3},{z:.3},{l:.3},{w:.3},{h:.3},{heading:.3},{sure:.3},{probability:.3}");
    }
    csv
}

/// The room from above: 100 pixels to a meter, forward is up.
fn picture(room: &Scene, found: &[Proposal]) -> String {
    let place = |[x, y]: [f64; 2]| format!("{:.1},{:.1}", 100.0 * (x + 2.5), 100.0 * (5.0 - y));
    let mut svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 500 500\">\n".to_owned();
    for point in &room.points {
        let at = place([point[0], point[1]]);
        let (x, y) = at.split_once(',').unwrap_or_default();
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"1\" fill=\"#bbb\"/>");
    }
    let mut outline = |shape: &OrientedBox, color: &str, width: f64| {
        let corners = shape.footprint().map(place).join(" ");
        let _ = writeln!(svg, "<polygon points=\"{corners}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"/>");
    };
    room.boxes
        .iter()
        .for_each(|(shape, _)| outline(shape, "#888", 4.0));
    for own in found.iter().filter(|own| own.objectness > 0.5) {
        outline(&own.shape, ["#c33", "#36c"][own.class], 2.0);
    }
    svg + "</svg>\n"
}
