//! Merkle trees as in RFC 6962, section 2.1: leaves and nodes are hashed in different domains.

use ring::digest::{Context, SHA256};

pub type Hash = [u8; 32];

/// SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// `SHA-256(0x00 || leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root over hashed leaves: MTH. Without leaves it is the hash of nothing.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The hashes beside the way from a leaf up to the root, the lowest first: PATH.
pub fn audit_path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, beside) = match index < at {
        true => (audit_path(left, index), root(right)),
        false => (audit_path(right, index - at), root(left)),
    };
    path.push(beside);
    path
}

/// The root of a tree of so many leaves, from one leaf and its audit path; none if they do not fit together.
pub fn root_by_path(leaf: Hash, index: usize, leaves: usize, path: &[Hash]) -> Option<Hash> {
    if index >= leaves {
        return None;
    }
    if leaves == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (beside, below) = path.split_last()?;
    let at = split(leaves);
    if index < at {
        Some(node_hash(&root_by_path(leaf, index, at, below)?, beside))
    } else {
        Some(node_hash(beside, &root_by_path(leaf, index - at, leaves - at, below)?))
    }
}

/// The largest power of two below `leaves`, which are at least two.
fn split(leaves: usize) -> usize {
    1 << (usize::BITS - 1 - (leaves - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves of Certificate Transparency's test vectors.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    /// The roots over the first one, two, … of them.
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hashed() -> Vec<Hash> {
        LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).expect("hexadecimal"))).collect()
    }

    #[test]
    fn roots_are_those_of_the_test_vectors_of_certificate_transparency() {
        assert_eq!(hex::encode(root(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (count, expected) in (1..=8).zip(ROOTS) {
            assert_eq!(hex::encode(root(&hashed()[..count])), expected, "{count} leaves");
        }
    }

    #[test]
    fn three_leaves_are_hashed_as_by_hand() {
        let leaves = hashed();
        let by_hand = sha256(&[&[1], &sha256(&[&[1], &leaves[0], &leaves[1]]), &leaves[2]]);
        assert_eq!(root(&leaves[..3]), by_hand);
    }

    #[test]
    fn every_path_leads_to_the_root_and_no_other_leaf_place_or_path_does() {
        let leaves = hashed();
        for count in 1..=8 {
            let (leaves, root) = (&leaves[..count], root(&leaves[..count]));
            for index in 0..count {
                let path = audit_path(leaves, index);
                assert_eq!(root_by_path(leaves[index], index, count, &path), Some(root));
                assert_ne!(root_by_path(leaf_hash(b"other"), index, count, &path), Some(root));
                assert!((0..count + 2).filter(|&place| place != index).all(|place| root_by_path(
                    leaves[index],
                    place,
                    count,
                    &path
                ) != Some(root)));
                assert_ne!(root_by_path(leaves[index], index, count, &[&path[..], &[[0; 32]]].concat()), Some(root));
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_by_path(leaves[index], index, count, shorter), Some(root));
                }
            }
        }
    }
}
