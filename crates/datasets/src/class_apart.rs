//! A class that is forgotten whole: its held-out samples leave the parts that they were drawn for.

use rewind_job::{ForgottenClass, HeldOutClass, Split};

use crate::{
    DataError, Subset,
    partition::refuse,
    split::{Parts, split_pool},
};

/// The membership attack learns from no fewer.
const FEWEST_TO_ATTACK: usize = 4;

/// Samples of the class, by the part that they were drawn for; each may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassApart {
    pub label: u32,
    pub test: Subset,
    pub validation: Subset,
    pub attack: Subset,
}

/// Takes the class out of all held-out parts. What is left keeps its order.
///
/// # Errors
/// Names the field: of a part too little is left.
pub(crate) fn set_apart(label: u32, parts: &mut Parts) -> Result<ClassApart, DataError> {
    let asked_for_attack = !parts.attack.is_empty();
    let take = |part: &mut Subset| {
        let is_of_class = |_, found| u32::from(found) == label;
        let taken = part.filter(is_of_class);
        *part = part.filter(|id, found| !is_of_class(id, found));
        taken
    };
    let (test, validation, attack) = (take(&mut parts.test), take(&mut parts.validation), take(&mut parts.attack));
    for (part, left, taken) in [("test", &parts.test, &test), ("validation", &parts.validation, &validation)] {
        if left.is_empty() {
            let problem =
                format!("class {label} leaves {part} data, and all {} samples are of that class", taken.len());
            return Err(refuse("data.forget.class", problem));
        }
    }
    if asked_for_attack && parts.attack.len() < FEWEST_TO_ATTACK {
        let problem = format!(
            "class {label} leaves attack data, and only {} of {} samples are of other classes: the membership attack \
             needs {FEWEST_TO_ATTACK}",
            parts.attack.len(),
            parts.attack.len() + attack.len()
        );
        return Err(refuse("data.forget.class", problem));
    }
    Ok(ClassApart { label, test, validation, attack })
}

/// Refuses to forget a class, before any image is read: `labels` are those of the whole pool, in its order, `training` as
/// in [`check_split`](crate::check_split). Says how many held-out samples leave their parts; none where they stay.
///
/// # Errors
/// Names the field: none or all of the training samples are of that class, or too little is left of a held-out part.
pub fn check_class(
    class: &ForgottenClass,
    labels: &[u8],
    training: Option<usize>,
    split: &Split,
) -> Result<Option<rewind_job::ClassApart>, DataError> {
    let mut parts = split_pool(labels, training, split)?;
    let count = parts.train.labels.iter().filter(|&&label| u32::from(label) == class.label).count();
    check_forgotten("data.forget.class", count, parts.train.len())?;
    if class.held_out == HeldOutClass::Kept {
        return Ok(None);
    }
    Ok(Some(set_apart(class.label, &mut parts)?.counts()))
}

/// Something must be forgotten, and something must remain.
pub(crate) fn check_forgotten(field: &str, forgotten: usize, training: usize) -> Result<(), DataError> {
    match forgotten {
        0 => Err(refuse(field, "no training sample would be forgotten".into())),
        all if all == training => Err(refuse(field, "every training sample would be forgotten".into())),
        _ => Ok(()),
    }
}

impl ClassApart {
    pub fn counts(&self) -> rewind_job::ClassApart {
        let [test, validation, attack] = [&self.test, &self.validation, &self.attack].map(|part| part.len() as u64);
        rewind_job::ClassApart { label: self.label, test, validation, attack }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a hundred samples `of_class` have label 1, the others label 0.
    fn labels(of_class: usize) -> Vec<u8> {
        (0..100).map(|at| u8::from(at < of_class)).collect()
    }

    fn split() -> Split {
        Split { seed: 3, train: 50, test: 20, validation: 10, attack: 20 }
    }

    fn class(label: u32, held_out: HeldOutClass) -> ForgottenClass {
        ForgottenClass { label, held_out }
    }

    #[test]
    fn a_class_leaves_every_held_out_part_and_no_other_sample_does() {
        let before = split_pool(&labels(20), None, &split()).expect("splits");
        let mut after = before.clone();
        let apart = set_apart(1, &mut after).expect("most are of the other class");
        assert_eq!(apart.counts(), rewind_job::ClassApart { label: 1, test: 4, validation: 2, attack: 4 });
        let triples = [
            (&before.test, &after.test, &apart.test),
            (&before.validation, &after.validation, &apart.validation),
            (&before.attack, &after.attack, &apart.attack),
        ];
        for (before, left, taken) in triples {
            assert!(left.labels.iter().all(|&label| label == 0) && taken.labels.iter().all(|&label| label == 1));
            let mut both = [left.ids.clone(), taken.ids.clone()].concat();
            both.sort_unstable();
            assert_eq!(both, before.ids);
        }
        assert_eq!(after.train, before.train);
    }

    #[test]
    fn a_class_that_leaves_too_little_behind_is_refused_by_field_wherever_it_is_found() {
        let refusal = |of_class, split: Split| {
            let class = class(1, HeldOutClass::Apart);
            check_class(&class, &labels(of_class), None, &split).expect_err("is refused").to_string()
        };
        assert_eq!(refusal(0, split()), "data.forget.class: no training sample would be forgotten");
        assert_eq!(refusal(100, split()), "data.forget.class: every training sample would be forgotten");
        let small = Split { validation: 1, ..split() };
        assert_eq!(
            refusal(95, small.clone()),
            "data.forget.class: class 1 leaves validation data, and all 1 samples are of that class"
        );
        assert_eq!(
            refusal(95, Split { validation: 25, attack: 5, ..split() }),
            "data.forget.class: class 1 leaves attack data, and only 0 of 5 samples are of other classes: the membership \
             attack needs 4"
        );
        // Without the membership attack nothing is wanting.
        let no_attack = Split { validation: 30, attack: 0, ..split() };
        assert!(check_class(&class(1, HeldOutClass::Apart), &labels(90), None, &no_attack).expect("fits").is_some());
        // What stays, leaves nothing empty.
        assert_eq!(check_class(&class(1, HeldOutClass::Kept), &labels(95), None, &small).expect("fits"), None);
    }
}
