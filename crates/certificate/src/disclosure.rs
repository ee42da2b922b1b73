//! What opens a certificate's seals, whole or for one sample. Private: it tells who was forgotten.

use rewind_job::{Digest, SampleDigest, SampleRecord, StepReads, check_reads, shortened};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::{
    CertificateError, Sealed, SealedReads, Statement,
    merkle::{Hash, audit_path, leaf_hash, root, root_by_path},
};

/// Names the tree of `D_f` where leaves get their salts.
const FORGET: &str = "forget";

/// The samples behind a certificate's roots, and the salt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    pub job: String,
    /// 32 bytes in hexadecimal. Each leaf has a salt of its own, derived from it: one leaf can be shown, and the others
    /// stay unguessable.
    pub salt: String,
    /// `D_f`, by id.
    pub forget: Vec<SampleDigest>,
    pub reads: Vec<StepReads>,
}

/// Shows that one sample is in `D_f`, and nothing of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub job: String,
    pub sample: SampleDigest,
    /// Of this leaf alone, 32 bytes in hexadecimal.
    pub leaf_salt: String,
    /// The leaf's place among the leaves, from 0. It tells nothing of other ids: leaves stand in the order of their hashes.
    pub index: u64,
    /// The hashes beside its way to the root, the lowest first.
    pub path: Vec<Digest>,
}

impl Disclosure {
    pub(crate) fn new(job: &str, salt: [u8; 32], record: SampleRecord) -> Self {
        let SampleRecord { mut forget, reads } = record;
        forget.sort_by_key(|sample| sample.id);
        Self { job: job.to_owned(), salt: hex::encode(salt), forget, reads }
    }

    /// # Errors
    /// Not a disclosure.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("words and numbers")
    }

    /// Whether these are the samples that the certificate speaks of: every root is built again.
    ///
    /// # Errors
    /// Names the first root or number that differs.
    pub fn check(&self, statement: &Statement) -> Result<(), CertificateError> {
        differ("job is", &self.job, &statement.job)?;
        if self.forget.windows(2).any(|pair| pair[0].id >= pair[1].id) {
            return Err(CertificateError::NotADisclosure("the forget data is not in the order of its ids".into()));
        }
        // Before they are hashed.
        check_reads(&self.reads).map_err(refused)?;
        differ("number of samples to forget is", self.forget.len(), statement.forget.samples)?;
        differ("root over the forget data is", self.sealed_forget().root, &statement.forget.root)?;
        let certified: usize = statement.steps.iter().map(|step| step.reads.len()).sum();
        differ("number of kinds of reading is", self.reads.len(), certified)?;
        for step in &statement.steps {
            let own: Vec<&StepReads> = self.reads.iter().filter(|reads| reads.step == step.name).collect();
            differ(&format!("number of kinds of reading in `{}` is", step.name), own.len(), step.reads.len())?;
            for (found, certified) in own.into_iter().zip(&step.reads) {
                let what = format!("what the {} of `{}` read of {} is", found.by.name(), step.name, found.part.name());
                differ(&what, count(found.ids.len()), count(certified.samples))?;
                differ(&what, describe(&self.sealed_reads(found)), describe(certified))?;
            }
        }
        Ok(())
    }

    pub(crate) fn sealed_forget(&self) -> Sealed {
        Sealed { samples: self.forget.len() as u64, root: digest(root(&self.forget_leaves())) }
    }

    pub(crate) fn sealed_reads(&self, reads: &StepReads) -> SealedReads {
        let tree = format!("{}/{}/{}", reads.by.name(), reads.part.name(), reads.step);
        let key = self.key();
        let leaf = |id: u32| leaf_hash(&[&leaf_salt(&key, &tree, id)[..], &id.to_be_bytes()].concat());
        // As many as there are, and no room for more: a tree is large.
        let mut leaves: Vec<Hash> = Vec::with_capacity(reads.ids.len() as usize);
        leaves.extend(reads.ids.iter().map(leaf));
        leaves.sort_unstable();
        SealedReads { by: reads.by, part: reads.part, samples: leaves.len() as u64, root: digest(root(&leaves)) }
    }

    /// None: the sample is not in `D_f`.
    pub fn proof_of(&self, id: u32) -> Option<Proof> {
        let rank = self.forget.binary_search_by_key(&id, |sample| sample.id).ok()?;
        let (sample, salt) = (&self.forget[rank], leaf_salt(&self.key(), FORGET, id));
        let leaves = self.forget_leaves();
        let index = leaves.binary_search(&forget_leaf(&salt, sample)).expect("its leaf is one of the leaves");
        Some(Proof {
            job: self.job.clone(),
            sample: sample.clone(),
            leaf_salt: hex::encode(salt),
            index: index as u64,
            path: audit_path(&leaves, index).into_iter().map(digest).collect(),
        })
    }

    /// In the order of the hashes: by id, a leaf's place would tell how many smaller ids were forgotten.
    fn forget_leaves(&self) -> Vec<Hash> {
        let key = self.key();
        let leaf = |sample: &SampleDigest| forget_leaf(&leaf_salt(&key, FORGET, sample.id), sample);
        let mut leaves: Vec<Hash> = self.forget.iter().map(leaf).collect();
        leaves.sort_unstable();
        leaves
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.salt.as_bytes())
    }
}

impl Proof {
    /// # Errors
    /// Not a proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("words and numbers")
    }

    /// Whether the certificate's root over `D_f` was built with this sample.
    ///
    /// # Errors
    /// It was not.
    pub fn check(&self, statement: &Statement) -> Result<(), CertificateError> {
        differ("job is", &self.job, &statement.job)?;
        let hash = |text: &str| -> Option<Hash> { hex::decode(text).ok()?.try_into().ok() };
        let refuse = || CertificateError::NotADisclosure("its hashes are no SHA-256".into());
        let salt = hash(&self.leaf_salt).ok_or_else(refuse)?;
        let path: Option<Vec<Hash>> = self.path.iter().map(|digest| hash(&digest.0)).collect();
        let leaf = forget_leaf(&salt, &self.sample);
        let found =
            root_by_path(leaf, self.index as usize, statement.forget.samples as usize, &path.ok_or_else(refuse)?);
        let found = found.ok_or_else(|| CertificateError::NotADisclosure("its path has another length".into()))?;
        differ("root over the forget data is", digest(found), &statement.forget.root)
    }
}

/// `salt || id || digest`, hashed; the digest's 64 hexadecimal digits as they are written.
fn forget_leaf(salt: &[u8; 32], sample: &SampleDigest) -> Hash {
    leaf_hash(&[&salt[..], &sample.id.to_be_bytes(), sample.digest.0.as_bytes()].concat())
}

fn leaf_salt(key: &hmac::Key, tree: &str, id: u32) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(&id.to_be_bytes());
    context.update(tree.as_bytes());
    context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn digest(hash: Hash) -> Digest {
    Digest(hex::encode(hash))
}

fn count(samples: u64) -> String {
    format!("{samples} samples")
}

fn describe(reads: &SealedReads) -> String {
    format!("{} samples of {} by {}, root {}", reads.samples, reads.part.name(), reads.by.name(), reads.root)
}

fn differ(what: &str, found: impl ToString, certified: impl ToString) -> Result<(), CertificateError> {
    let (found, certified) = (found.to_string(), certified.to_string());
    if found == certified {
        return Ok(());
    }
    let [what, found, certified] = [what.to_owned(), found, certified].map(shortened);
    Err(CertificateError::Differs { what, found, certified })
}

fn refused(problem: String) -> CertificateError {
    CertificateError::NotADisclosure(shortened(problem))
}
