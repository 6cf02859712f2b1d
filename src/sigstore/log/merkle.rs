//! Inclusion proofs in Merkle trees (RFC 6962, section 2.1): which tree a leaf and its audit path make. Called for a log's
//! entry. Knows no log, and says nothing about whether anybody vouches for the tree.

use super::super::sha256;

/// Why a proof makes no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// The tree has no such leaf.
    #[error("its inclusion proof is of entry {index} in a tree of {size}")]
    Outside {
        /// Which leaf, counted from 0.
        index: u64,
        /// How many leaves there are.
        size: u64,
    },
    /// Hashes are missing, or there are more than the tree has levels.
    #[error("its inclusion proof has {found} hashes, entry {index} in a tree of {size} needs another number of them")]
    Length {
        /// How many there are.
        found: usize,
        /// Which leaf.
        index: u64,
        /// How many leaves there are.
        size: u64,
    },
}

/// The root hash of the tree of `size` leaves in which the leaf at `index` has that audit path (RFC 9162, section
/// 2.1.3.2; the trees are those of RFC 6962).
///
/// # Errors
/// See [`BadProof`].
pub(super) fn root(leaf: &[u8], index: u64, size: u64, path: &[[u8; 32]]) -> Result<[u8; 32], BadProof> {
    let Some(mut last) = size.checked_sub(1).filter(|last| index <= *last) else {
        return Err(BadProof::Outside { index, size });
    };
    let length = BadProof::Length { found: path.len(), index, size };
    let (mut at, mut hash) = (index, sha256(&[&[LEAF], leaf]));
    for other in path {
        if last == 0 {
            return Err(length);
        }
        if at & 1 == 1 || at == last {
            hash = sha256(&[&[NODE], other, &hash]);
            // The last node of a level may have no neighbour on some levels.
            let levels = if at == 0 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> levels, last >> levels);
        } else {
            hash = sha256(&[&[NODE], &hash, other]);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last == 0 { Ok(hash) } else { Err(length) }
}

/// What stands before a leaf when it is hashed.
const LEAF: u8 = 0;

/// What stands before two nodes when they are hashed.
const NODE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::super::super::testing::{audit_path, hex, sha256, tree_hash};
    use super::*;

    fn leaves(size: usize) -> Vec<Vec<u8>> {
        (0..size).map(|number| format!("leaf {number}").into_bytes()).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_nothing_else() {
        for size in 1..=33_usize {
            let leaves = leaves(size);
            let expected = tree_hash(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let path = audit_path(index, &leaves);
                let of = |leaf: &[u8], index: usize, size: usize, path: &[[u8; 32]]| {
                    root(leaf, index as u64, size as u64, path)
                };
                assert_eq!(of(leaf, index, size, &path), Ok(expected), "{index} of {size}");
                assert_ne!(of(b"other", index, size, &path), Ok(expected));
                for other in (0..size + 2).filter(|other| *other != index) {
                    assert_ne!(of(leaf, other, size, &path), Ok(expected), "{index} as {other} of {size}");
                }
                for hash in 0..path.len() {
                    let mut changed = path.clone();
                    changed[hash][31] ^= 1;
                    assert_ne!(of(leaf, index, size, &changed), Ok(expected));
                    changed.remove(hash);
                    assert_ne!(of(leaf, index, size, &changed), Ok(expected));
                }
                let longer = [path.as_slice(), &[expected]].concat();
                assert_ne!(of(leaf, index, size, &longer), Ok(expected));
            }
        }
    }

    #[test]
    fn a_tree_of_one_leaf_needs_no_hashes() {
        assert_eq!(root(b"leaf", 0, 1, &[]), Ok(sha256(b"\0leaf")));
        assert_eq!(root(b"leaf", 0, 1, &[[0; 32]]), Err(BadProof::Length { found: 1, index: 0, size: 1 }));
    }

    #[test]
    fn a_leaf_outside_of_the_tree_is_refused() {
        assert_eq!(root(b"leaf", 0, 0, &[]), Err(BadProof::Outside { index: 0, size: 0 }));
        assert_eq!(root(b"leaf", 7, 7, &[]), Err(BadProof::Outside { index: 7, size: 7 }));
        assert_eq!(root(b"leaf", 6, 7, &[]), Err(BadProof::Length { found: 0, index: 6, size: 7 }));
    }

    #[test]
    fn the_largest_tree_has_64_levels() {
        assert!(root(b"leaf", 0, u64::MAX, &[[0; 32]; 64]).is_ok());
        assert!(root(b"leaf", 0, u64::MAX, &[[0; 32]; 63]).is_err());
        assert!(root(b"leaf", 0, u64::MAX, &[[0; 32]; 65]).is_err());
        assert!(root(b"leaf", u64::MAX - 1, u64::MAX, &[[0; 32]; 63]).is_ok_and(|hash| hash != [0; 32]));
    }

    #[test]
    fn trees_have_the_hashes_that_the_specification_gives() {
        // RFC 6962, section 2.1: the empty tree, a leaf of no bytes, and by hand a tree of two.
        assert_eq!(hex(tree_hash(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let empty_leaf = root(b"", 0, 1, &[]).unwrap();
        assert_eq!(hex(empty_leaf), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        let two = root(b"", 0, 2, &[empty_leaf]).unwrap();
        assert_eq!(two, sha256(&[&[1][..], &empty_leaf, &empty_leaf].concat()));
    }
}
