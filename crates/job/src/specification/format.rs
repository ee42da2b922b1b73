//! What a specification meant when it was written: its format number, and the way up from older ones.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Forget, HeldOutClass, Specification, SpecificationError, check::require};

/// The form of specifications that this version writes. Older ones are read, and become this one.
///
/// | format | since | what changed |
/// |---|---|---|
/// | 1 | 0.1.0 | was not written down |
/// | 2 | 0.2.0 | words that bear a published name mean what was published; see [`Specification::upgrade`] |
pub const SPECIFICATION_FORMAT: u32 = 2;

/// Of specifications that say nothing.
pub(super) fn first() -> u32 {
    1
}

impl Specification {
    /// Turns what an older version meant into words of this version, so that stored jobs go on as they began. Returns one
    /// sentence for each word that is called otherwise now.
    ///
    /// # Errors
    /// A format that this version does not know.
    pub fn upgrade(&mut self) -> Result<Vec<String>, SpecificationError> {
        let known = (1..=SPECIFICATION_FORMAT).contains(&self.format);
        let problem = format!(
            "is {}, and this version knows 1 to {SPECIFICATION_FORMAT}: it was written by a later one",
            self.format
        );
        require(known, "format", problem)?;
        let renamed = if self.format == 1 { upgrade_from_1(self) } else { Vec::new() };
        self.format = SPECIFICATION_FORMAT;
        Ok(renamed)
    }
}

/// Version 0.1.
fn upgrade_from_1(specification: &mut Specification) -> Vec<String> {
    let mut renamed = Vec::new();
    if let Forget::Class(class) = &mut specification.data.forget {
        class.held_out = HeldOutClass::Kept;
        renamed.push(
            "data.forget.class is `held-out = \"kept\"` now: held-out samples of the class stay in test, validation and \
             attack data; from format 2 on they lie apart unless this is said"
                .to_owned(),
        );
    }
    renamed
}

/// A specification in the words of its format.
pub(super) struct AsWritten(pub Specification);

impl<'de> Deserialize<'de> for AsWritten {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Specification::deserialize(deserializer).map(Self)
    }
}

// The derived functions are the specification's own (`remote`): whatever reads one, from TOML or from JSON, by itself or
// within a report, goes this way up.
impl<'de> Deserialize<'de> for Specification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut specification = Self::deserialize(deserializer)?;
        specification.upgrade().map_err(serde::de::Error::custom)?;
        Ok(specification)
    }
}

impl Serialize for Specification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}
