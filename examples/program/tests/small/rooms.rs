//! A small detector of boxes in generated rooms, which trains within seconds.

/// Rooms of 120 points, and networks of at most 16 numbers.
pub const ROOMS: &str = r#"
seed = 1
[data]
type = "generated-rooms"
train = 12
test = 6
points = 120
[backbone]
type = "imvotenet"
levels = [
    { centers = 32, radius = 0.4, neighbors = 8, widths = [8, 8, 16] },
    { centers = 16, radius = 0.8, neighbors = 8, widths = [16, 16, 16] },
    { centers = 8, radius = 1.2, neighbors = 4, widths = [16, 16, 16] },
]
width = 16
kept = 24
vote = 16
neighbors = 8
hidden = 16
halving = 2
[fusion]
type = "sum"
[head]
type = "boxes"
proposals = 8
headings = 4
sizes = [[0.6, 0.4, 0.5], [0.6, 0.4, 0.5]]
[training]
epochs = 4
batch = 4
validation = 0.25
optimizer = { type = "adam", rate = 5e-3 }
"#;
