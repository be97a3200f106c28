use proptest::prelude::*;

use super::*;

/// Every hash of a tree of `size` leaves, in the order of `tlog_tiles`.
struct Tree(Vec<Hash>);

impl HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        Ok(indexes.iter().map(|&index| self.0[usize::try_from(index).unwrap()]).collect())
    }
}

fn leaf(index: u64) -> Vec<u8> {
    format!("{{\"n\":{index}}}").into_bytes()
}

fn tree(size: u64) -> Tree {
    let mut tree = Tree(Vec::new());
    for index in 0..size {
        let hashes = tlog::stored_hashes(index, &leaf(index), &tree).unwrap();
        tree.0.extend(hashes);
    }
    tree
}

fn head(tree: &Tree, size: u64) -> TreeHead {
    TreeHead { size, root: tlog::tree_hash(size, tree).unwrap() }
}

fn certificate() -> Vec<u8> {
    b"keypod-audit-certificate/v1\nlog a/b\n\n\xe2\x80\x94 root AAAA\n".to_vec()
}

fn inclusion(tree: &Tree, size: u64, index: u64) -> Proof {
    Proof::Inclusion {
        certificate: certificate(),
        entry: leaf(index),
        index,
        hashes: tlog::prove_record(size, index, tree).unwrap(),
        checkpoint: b"a/b\n1\nx\n\n\xe2\x80\x94 a/b AAAA\n".to_vec(),
    }
}

fn consistency(tree: &Tree, from: u64, to: u64, size: u64) -> Proof {
    Proof::Consistency {
        certificate: certificate(),
        from: head(tree, from),
        to: head(tree, to),
        steps: [
            tlog::prove_tree(to, from, tree).unwrap(),
            tlog::prove_tree(size, to, tree).unwrap(),
        ],
        checkpoint: b"a/b\n1\nx\n\n\xe2\x80\x94 a/b AAAA\n".to_vec(),
    }
}

#[test]
fn a_proof_holds_for_its_tree_and_comes_back_from_its_file() {
    let size = 40;
    let tree = tree(size);
    for index in 0..size {
        let proof = inclusion(&tree, size, index);
        assert!(proof.holds(head(&tree, size)));
        assert!(!proof.holds(head(&tree, size - 1)), "of another tree");
        assert_eq!(Proof::parse(&proof.to_bytes()), Ok(proof));
    }
    for from in 1..=size {
        for to in from..=size {
            let proof = consistency(&tree, from, to, size);
            assert!(proof.holds(head(&tree, size)), "{from} {to}");
            assert_eq!(Proof::parse(&proof.to_bytes()), Ok(proof));
        }
    }
}

#[test]
fn a_changed_proof_does_not_hold() {
    let tree = tree(40);
    let change = |proof: &Proof, from: &str, to: &str| {
        let text = String::from_utf8(proof.to_bytes()).unwrap();
        assert!(text.contains(from), "{text}");
        Proof::parse(text.replacen(from, to, 1).as_bytes())
            .map(|proof| proof.holds(head(&tree, 40)))
    };
    let proof = inclusion(&tree, 40, 17);
    assert_eq!(change(&proof, "index 17", "index 16"), Ok(false));
    assert_eq!(change(&proof, "index 17", "index 9999999999"), Ok(false));
    assert_eq!(change(&proof, "index 17", "index 017"), Err(ProofError::Line(3)));
    assert_eq!(change(&proof, "tlog-proof@v1", "tlog-proof@v2"), Err(ProofError::FirstLine));
    let proof = consistency(&tree, 17, 30, 40);
    assert_eq!(change(&proof, "from 17", "from 16"), Ok(false));
    assert_eq!(change(&proof, "from 17", "from 0"), Ok(false));
    assert_eq!(change(&proof, "to 30", "to 16"), Ok(false));
    assert!(change(&proof, "to 30", "to 99999999999999999999").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_proof_or_none(bytes in prop::collection::vec(any::<u8>(), 0..400), lines in prop::collection::vec("(extra |index |from |to |certificate )?[A-Za-z0-9+/= ]{0,50}", 0..8)) {
        let head = TreeHead { size: SIZE, root: Hash::default() };
        let text = format!("c2sp.org/tlog-proof@v1\n{}\n\nx", lines.join("\n"));
        let other = format!("keypod-audit-consistency/v1\n{}\n\nx", lines.join("\n"));
        for bytes in [&bytes[..], text.as_bytes(), other.as_bytes()] {
            if let Ok(proof) = Proof::parse(bytes) {
                prop_assert!(!proof.holds(head));
            }
        }
    }
}

const SIZE: u64 = 1 << 52;
