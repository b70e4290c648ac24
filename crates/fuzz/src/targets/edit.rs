//! What an attacker makes of an honest proof.

use crate::{Input, Writer};
use coprocessor_merkle::{Key, Opening, Place, Value};
use coprocessor_types::Root;

/// Most changes to one proof: a few are enough to forge, more only make noise.
const MOST: usize = 8;

/// Changes some siblings, as the input says.
pub(crate) fn siblings(input: &mut Input<'_>, siblings: &mut Vec<Root>) {
    for _ in 0..input.below(MOST) {
        let at = usize::from(input.byte());
        let at = if siblings.is_empty() { 0 } else { at % siblings.len() };
        match input.below(6) {
            0 => siblings.insert(at, Root([0; 32])),
            1 => siblings.insert(at, Root(input.sparse())),
            2 if !siblings.is_empty() => drop(siblings.remove(at)),
            3 if !siblings.is_empty() => siblings[at].0[usize::from(input.byte()) % 32] ^= input.byte(),
            4 if !siblings.is_empty() => siblings.swap(0, at),
            5 if !siblings.is_empty() => siblings.push(siblings[at]),
            _ => siblings.resize(usize::from(input.short()) % 300, Root([0; 32])),
        }
    }
}

/// Changes an opening, as the input says: its place, its siblings, or nothing.
pub(crate) fn opening(input: &mut Input<'_>, opening: &mut Opening) {
    match input.below(5) {
        0 => opening.place = Place::Empty,
        1 => opening.place = Place::Member(Value(input.sparse())),
        2 => opening.place = Place::OtherLeaf(Key(input.sparse()), Value(input.sparse())),
        3 => {
            if let Place::Member(value) = opening.place {
                opening.place = Place::OtherLeaf(Key(input.sparse()), value);
            }
        }
        _ => {}
    }
    siblings(input, &mut opening.siblings);
}

/// Changes bytes, as the input says.
pub(crate) fn bytes(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..input.below(MOST) {
        let at = usize::from(input.short());
        let at = if bytes.is_empty() { 0 } else { at % bytes.len() };
        match input.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= input.byte(),
            1 if !bytes.is_empty() => bytes[at] = input.byte(),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, input.few().iter().copied())),
            _ => {
                let end = bytes.len().min(at + usize::from(input.byte()));
                bytes.drain(at..end);
            }
        }
    }
}

/// An opening that is left as it was.
pub(crate) fn unchanged(writer: Writer) -> Writer {
    writer.byte(4).byte(0)
}
