//! A layer of one's own: Kepler's equation, z = x + e sin z, the position z of a planet at time x on an orbit of eccentricity e.

use dfdx::prelude::*;
use equilibria::prelude::*;
use equilibria::{backward, from_host, solver};

/// `f(z; x) = x + e ⊙ sin z`, one orbit per column.
#[derive(Clone)]
struct Kepler<E: Scalar, D: Backend<E>> {
    /// e, `[1, dim]`.
    eccentricity: Matrix<E, D>,
}

parameters!(Kepler { eccentricity });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Kepler<E, D> {
    fn state_dim(&self) -> usize {
        self.eccentricity.shape().1
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(z.sin().stretch(&self.eccentricity) + &x[0])
    }
}

fn main() -> Result<()> {
    let device = Cpu::default();
    let eccentricity = from_host(&device, vec![0.2, 0.6], (1, 2))?;
    let orbits = Equilibrium::new(
        Kepler { eccentricity },
        solver("anderson")?,
        backward("implicit")?,
    );

    let times: [Matrix<f64, Cpu>; 1] = [from_host(
        &device,
        vec![0.5, 0.5, 1.5, 1.5, 3.0, 3.0],
        (3, 2),
    )?];
    let solved = orbits.forward(&times, OwnedTape::default())?;
    println!("positions:  {:.4?}", solved.z.as_vec());
    println!("unconverged: {}", solved.report.unconverged());

    // By the implicit function theorem: 1 / (1 − e cos z) for the times.
    let gradients = solved.z.sum::<Rank0, _>().backward();
    println!("dz/dx:      {:.4?}", gradients.get(&times[0]).as_vec());
    for (name, parameter) in orbits.named() {
        println!("{name}: {:.4?}", gradients.get(&parameter).as_vec());
    }
    Ok(())
}
