//! Where results go, and what they are set beside.

use crate::limits::Limits;
use crate::machine::Machine;
use crate::measured::Measured;

/// What a run prints, and beside what.
pub struct Shown {
    /// What it is measured on.
    pub machine: Machine,
    /// What the machine had to do before.
    pub load_before: String,
    /// What the machine can do, if that was measured.
    pub limits: Option<Limits>,
    /// One JSON object for each result.
    pub json: bool,
}

impl Shown {
    /// Says what it is measured on.
    pub fn machine(&self, broker: &str) {
        if self.json {
            return;
        }
        println!("machine: {}", self.machine);
        if !broker.is_empty() {
            println!("broker: {broker}");
        }
    }

    /// Prints a result, beside the limits where there are some.
    pub fn result(&self, measured: &Measured, beside: impl Fn(&Limits, &Measured) -> String) {
        if self.json {
            let line = serde_json::json!({
                "machine": self.machine,
                "limits": self.limits,
                "result": measured,
            });
            println!("{line}");
            return;
        }
        println!("{measured}");
        let beside = self.limits.as_ref().map(|limits| beside(limits, measured));
        if let Some(beside) = beside.filter(|text| !text.is_empty()) {
            println!("  beside the limits: {beside}");
        }
    }
}
