//! ImVoteNet from seeds on: image cues, three towers around a fusion, and all losses.

mod towers;

use dfdx::prelude::{Cpu, HasShape};
use equilibria_core::{from_host, inventory, to_host, Matrix};
use equilibria_fusion::detection::{
    proposal_loss, vote_loss, BoxTarget, Camera, Outputs, Pixel, Seeded, Seen, Towered,
};
use equilibria_fusion::points::gather_rows;
use equilibria_fusion::Pass;

use super::{Case, Comparer};
use crate::golden::ledger::Ledger;
use crate::golden::network::{compare_gradients, matrix, whole, within, Tolerances};
use crate::golden::site::{compare_states, subject};
use crate::{Error, Result};
use towers::{Network, TOWERS};

inventory::submit! {
    Comparer {
        arrays: &["param.joint.vote.1.weight", "param.image.1.weight", "input.pixel_votes", "input.seed_xyz"],
        compare,
    }
}

const TOLERANCES: Tolerances = Tolerances {
    forward: 1e-11,
    gradient: 1e-9,
};

/// The votes of a pixel in a record, beside their number.
const VOTES: usize = 3;

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let (golden, network) = (&case.golden, Network::read(case)?);
    let (scenes, seeds) = (
        case.length("input.seed_xyz", 0)?,
        case.length("input.seed_xyz", 1)?,
    );
    let cues = cues(case, scenes, seeds, ledger)?;

    // Candidates are the seeds, once for each vote; of a scene those of the first votes come first.
    let kept = whole(golden, "input.kept")?;
    let count = (kept.len() / scenes.max(1)).max(1);
    let over_all = |size: usize| -> Vec<usize> {
        let numbered = kept.iter().enumerate();
        numbered
            .map(|(place, own)| place / count * size + own % size.max(1))
            .collect()
    };
    let (candidates, own_seeds) = (over_all(VOTES * seeds), over_all(seeds));
    let mut pass = Pass::training(1);
    let seed_features = matrix(
        golden,
        "input.seed_features",
        case.length("input.seed_features", 2)?,
    )?;
    let xyz = gather_rows(matrix(golden, "input.seed_xyz", 3)?, own_seeds.clone())?;
    let point = pass.try_run(&seed_features, |features| {
        gather_rows(features, own_seeds.clone())
    })?;
    let cues = gather_rows(cues, candidates)?;
    let image = network.image()?.forward(&cues, &mut pass)?;
    let seeds = Seeded {
        numbers: kept.chunks(count).map(<[usize]>::to_vec).collect(),
        xyz: xyz.clone(),
        features: vec![point.clone(), image.clone()],
    };
    let fused = network.fusion.fuse(0, &seeds.features, &mut pass)?;
    for (name, got) in [
        ("xyz", &xyz),
        ("point", &point),
        ("image", &image),
        ("fused", &fused),
    ] {
        let name = format!("mid.{name}");
        ledger.compare(golden, &name, &to_host(got), TOLERANCES.forward);
    }

    let truth = Truth::read(case, &own_seeds, &to_host(&xyz))?;
    let weights = &case.config["tower_weights"];
    let (mut losses, mut total) = (Vec::new(), 0.0);
    let towers = network.detector.propose(&seeds, &fused, &mut pass)?;
    for (name, made) in TOWERS.iter().zip(&towers) {
        compare_tower(name, made, scenes, case, ledger)?;
        let weight = weights[name].as_f64().ok_or_else(|| {
            let message =
                format!("metadata.json must have a number `config.tower_weights.{name}` for it");
            Error::golden(&golden.path, message)
        })?;
        let loss = tower_loss(
            (name, made),
            &truth,
            network.outputs,
            &mut pass,
            (golden, &mut *ledger),
        )?;
        total += weight * to_host(&loss)[0];
        losses.push(pass.run(&loss, |loss| loss * weight));
    }
    ledger.compare(golden, "loss", &[total], TOLERANCES.forward);
    let sum = pass.sum(&losses)?;
    compare_gradients(
        golden,
        &network,
        &[("seed_features", &seed_features)],
        (&sum, pass),
        &TOLERANCES,
        ledger,
    )?;
    if golden.has("param.fusion.fuse.w") {
        let subject = subject(golden, "fusion", [case.size("groups")?, 1], &seeds.features)?;
        compare_states(golden, "deq.z", &subject, ledger)?;
    }
    Ok(())
}

/// The cues of all candidates, `[scenes · votes · seeds, cues]`; pixels, cues and votes are compared.
fn cues(case: &Case, scenes: usize, seeds: usize, ledger: &mut Ledger) -> Result<Matrix<f64, Cpu>> {
    let golden = &case.golden;
    if case.size("votes_per_pixel")? != VOTES {
        let message = format!("`config.votes_per_pixel` must be {VOTES} in metadata.json");
        return Err(Error::golden(&golden.path, message));
    }
    let (columns, record) = (case.size("image_width")?, 1 + 4 * VOTES);
    let classes = case.length("input.semantic", 2)?;
    let boxes = case.length("input.semantic", 1)?;
    let (xyz, scale) = (
        golden.need("input.seed_xyz", 3 * scenes * seeds)?,
        golden.need("input.scale", scenes)?,
    );
    let (rotations, cameras) = (
        golden.need("input.rotation", 9 * scenes)?,
        golden.need("input.camera", 9 * scenes)?,
    );
    let votes = &golden.get("input.pixel_votes")?.values;
    let pixels = votes.len() / (record * scenes).max(1);
    let colors = golden.need("input.pixel_rgb", 3 * pixels * scenes)?;
    let scores = golden.need("input.semantic", scenes * boxes * classes)?;
    let (mut all, mut masks) = (Vec::new(), Vec::new());
    let mut places = [Vec::new(), Vec::new()];
    for scene in 0..scenes {
        let numbers = [
            &scale[scene..=scene],
            &rotations[9 * scene..][..9],
            &cameras[9 * scene..][..9],
        ];
        let numbers: std::result::Result<[f64; 19], _> = numbers.concat().try_into();
        let camera = numbers.map(|numbers| Camera::from_numbers(&numbers));
        let camera = camera.map_err(|_| Error::golden(&golden.path, "a camera has 19 numbers"))?;
        let mut seen = Vec::with_capacity(seeds);
        for seed in xyz[3 * scene * seeds..].chunks_exact(3).take(seeds) {
            let at = camera.project([seed[0], seed[1], seed[2]]);
            places[0].push(at.u);
            places[1].push(at.v);
            let pixel = at.v * columns as f64 + at.u;
            if !(pixel >= 0.0 && pixel < pixels as f64) {
                return Err(Error::golden(
                    &golden.path,
                    "a seed is outside of its image",
                ));
            }
            let place = scene * pixels + pixel as usize;
            let color = &colors[3 * place..][..3];
            seen.push((
                [seed[0], seed[1], seed[2]],
                at.depth,
                Pixel::from_record(&votes[record * place..][..record]),
                [color[0], color[1], color[2]],
            ));
        }
        for vote in 0..VOTES {
            for (point, depth, pixel, color) in &seen {
                let own = match pixel.votes(vote) {
                    true => pixel.boxes[vote],
                    false => 0,
                };
                if own >= boxes {
                    let message = "a pixel votes for a box that `input.semantic` does not have";
                    return Err(Error::golden(&golden.path, message));
                }
                let scores = &scores[(scene * boxes + own) * classes..][..classes];
                let seen = Seen {
                    camera: &camera,
                    point: *point,
                    depth: *depth,
                    pixel,
                    color: *color,
                };
                all.extend(seen.cues(vote, scores));
                masks.push(f64::from(u8::from(pixel.votes(vote))));
            }
        }
    }
    ledger.compare(golden, "mid.pixel_u", &places[0], 0.0);
    ledger.compare(golden, "mid.pixel_v", &places[1], 0.0);
    ledger.compare(golden, "mid.cues", &all, TOLERANCES.forward);
    ledger.compare(golden, "mid.cues_mask", &masks, 0.0);
    let shape = (masks.len(), all.len() / masks.len().max(1));
    Ok(from_host(&Cpu::default(), all, shape)?)
}

fn compare_tower(
    name: &str,
    made: &Towered<f64, Cpu>,
    scenes: usize,
    case: &Case,
    ledger: &mut Ledger,
) -> Result<()> {
    let golden = &case.golden;
    let votes = made.votes.shape().0 / scenes;
    let (raw, centers) = (to_host(&made.raw), to_host(&made.groups.xyz));
    let width = made.raw.shape().1.max(1);
    let offsets = raw
        .chunks_exact(width)
        .flat_map(|row| &row[Outputs::OFFSET]);
    let centers: Vec<f64> = centers.iter().zip(offsets).map(|(a, b)| a + b).collect();
    let sampled = within(&made.groups.sampled, votes);
    for (array, got, tolerance) in [
        ("mid.*.vote_xyz", to_host(&made.votes), TOLERANCES.forward),
        (
            "mid.*.vote_features",
            to_host(&made.vote_features),
            TOLERANCES.forward,
        ),
        ("mid.*.aggregated_index", sampled, 0.0),
        (
            "mid.*.aggregated",
            to_host(&made.groups.features),
            TOLERANCES.forward,
        ),
        ("out.*.raw", raw, TOLERANCES.forward),
        ("out.*.center", centers, TOLERANCES.forward),
    ] {
        ledger.compare(golden, &array.replace('*', name), &got, tolerance);
    }
    Ok(())
}

/// What is to be found.
struct Truth {
    boxes: Vec<Vec<BoxTarget>>,
    /// Of each seed that is kept, in the axes of the room.
    votes: Vec<[f64; 9]>,
    inside: Vec<bool>,
}

impl Truth {
    fn read(case: &Case, seeds: &[usize], xyz: &[f64]) -> Result<Self> {
        let (scenes, count) = (
            case.length("input.target_box_mask", 0)?,
            case.length("input.target_box_mask", 1)?,
        );
        let values = |name: &str, width: usize| {
            let name = format!("input.target_{name}");
            case.golden.need(&name, width * scenes * count)
        };
        let all_seeds = scenes * case.length("input.seed_xyz", 1)?;
        let offsets = case.golden.need("input.target_votes", 9 * all_seeds)?;
        let mask = case.golden.need("input.target_votes_mask", all_seeds)?;
        let votes = seeds.iter().zip(xyz.chunks_exact(3)).map(|(&seed, xyz)| {
            std::array::from_fn(|entry| offsets[9 * seed + entry] + xyz[entry % 3])
        });
        let (headings, sizes) = (case.size("heading_bins")?, case.size("size_clusters")?);
        let width = std::f64::consts::PI / headings as f64;
        let (present, center) = (values("box_mask", 1)?, values("center", 3)?);
        let (heading, turn) = (values("heading", 1)?, values("heading_residual", 1)?);
        let (size, growth) = (values("size", 1)?, values("size_residual", 3)?);
        let means = case.golden.need("input.target_mean_size", 3 * sizes)?;
        let class = values("class", 1)?;
        if size.iter().any(|&own| own as usize >= sizes) {
            let message = "`input.target_size` must be below `config.size_clusters`";
            return Err(Error::golden(&case.golden.path, message));
        }
        let target = |index: usize| {
            let own = size[index] as usize;
            BoxTarget {
                present: present[index] > 0.5,
                center: std::array::from_fn(|axis| center[3 * index + axis]),
                heading: (heading[index] as usize, turn[index] / width),
                size: (
                    own,
                    std::array::from_fn(|axis| growth[3 * index + axis] / means[3 * own + axis]),
                ),
                class: class[index] as usize,
            }
        };
        let all: Vec<BoxTarget> = (0..present.len()).map(target).collect();
        Ok(Self {
            boxes: all
                .chunks(count.max(1))
                .map(<[BoxTarget]>::to_vec)
                .collect(),
            votes: votes.collect(),
            inside: seeds.iter().map(|&seed| mask[seed] > 0.5).collect(),
        })
    }
}

/// The total loss of a tower; its terms are compared, and how proposals are matched.
fn tower_loss(
    (name, made): (&str, &Towered<f64, Cpu>),
    truth: &Truth,
    outputs: Outputs,
    pass: &mut Pass<f64, Cpu>,
    (golden, ledger): (&crate::golden::file::Arrays, &mut Ledger),
) -> Result<Matrix<f64, Cpu>> {
    let vote = pass.try_run(&made.votes, |votes| {
        vote_loss(votes, &truth.votes, &truth.inside)
    })?;
    let mut matching = None;
    let proposals = pass.try_run(&made.raw, |raw| {
        let (loss, own) = proposal_loss(raw, &made.groups.xyz, &truth.boxes, outputs)?;
        matching = Some(own);
        Ok(loss)
    })?;
    let vote = pass.run(&vote, |vote| vote * 10.0);
    let total = pass.sum(&[vote.clone(), proposals])?;
    if let Some(own) = matching {
        let objects: Vec<f64> = own
            .object
            .iter()
            .map(|&object| f64::from(u8::from(object)))
            .collect();
        let assigned: Vec<f64> = own.assigned.iter().map(|&number| number as f64).collect();
        ledger.compare(golden, &format!("mid.{name}.object_label"), &objects, 0.0);
        ledger.compare(golden, &format!("mid.{name}.assignment"), &assigned, 0.0);
        let terms = own.terms;
        for (term, got) in [
            ("vote", to_host(&vote)[0] / 10.0),
            ("objectness", terms.objectness),
            ("center", terms.center),
            ("heading_class", terms.heading_class),
            ("heading_residual", terms.heading_residual),
            ("size_class", terms.size_class),
            ("size_residual", terms.size_residual),
            ("class", terms.class),
            ("total", to_host(&total)[0]),
        ] {
            ledger.compare(
                golden,
                &format!("loss.{name}.{term}"),
                &[got],
                TOLERANCES.forward,
            );
        }
    }
    Ok(total)
}
