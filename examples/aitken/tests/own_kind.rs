//! A kind of plugins of one's own, and a plugin of it, with nothing but `equilibria`.

use equilibria::dyn_clone::DynClone;
use equilibria::prelude::*;

/// A learning rate over the epochs.
#[typetag::serde(tag = "type")]
trait Rate: DynClone {
    fn at(&self, epoch: usize) -> f64;

    fn validate(&self) -> Result<()>;
}

kind!(dyn Rate, "rate", validate);

plugin! {
    /// Falls by a factor every epoch.
    struct Falling: Rate {
        /// Factor in (0, 1]. Dimensionless.
        factor: f64 = 0.5,
    }
}

#[typetag::serde(name = "falling")]
impl Rate for Falling {
    fn at(&self, epoch: usize) -> f64 {
        (0..epoch).fold(1.0, |rate, _| rate * self.factor)
    }

    fn validate(&self) -> Result<()> {
        let allowed = self.factor > 0.0 && self.factor <= 1.0;
        Error::require(allowed, "falling", "factor", "in (0, 1]", self.factor)
    }
}

plugin! {
    /// Stays what it is.
    struct Constant: Rate {}
}

#[typetag::serde(name = "constant")]
impl Rate for Constant {
    fn at(&self, _: usize) -> f64 {
        1.0
    }

    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn plugins_of_an_own_kind_are_made_by_name_and_checked() {
    let at_2 = |name: &str| registry::default::<dyn Rate>(name).map(|rate| rate.clone().at(2));
    assert_close(at_2("falling").expect("registered"), 0.25);
    assert_close(at_2("constant").expect("registered"), 1.0);
    let error = at_2("fallin").expect_err("no such name").to_string();
    assert!(error.contains("did you mean `falling`?"), "{error}");
    let plugin = registry::find("rate", "falling").expect("registered");
    let config = equilibria::serde_json::json!({ "factor": 2.0 });
    let error = plugin.check(&config).expect_err("out of range").to_string();
    assert!(error.contains("in (0, 1]"), "{error}");
}

fn assert_close(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-15, "{got} and {expected}");
}
