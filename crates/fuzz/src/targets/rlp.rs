//! RLP in its plainest form: to make seeds with, and to compare with.

/// A string.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [byte] if *byte < 0x80 => vec![*byte],
        _ => [&head(0x80, bytes.len())[..], bytes].concat(),
    }
}

/// A list of items that are encoded already.
pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    [head(0xc0, payload.len()), payload].concat()
}

/// The items of the one list that `bytes` is, all of them strings; `None` where it is anything else.
pub(crate) fn strings(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (list, mut rest, after) = item(bytes)?;
    if !list || !after.is_empty() {
        return None;
    }
    let mut strings = Vec::new();
    while !rest.is_empty() {
        let (list, string, after) = item(rest)?;
        strings.push((!list).then_some(string)?);
        rest = after;
    }
    Some(strings)
}

/// Whether the first item is a list, what is in it, and what follows it.
fn item(bytes: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (list, base) = (*first >= 0xc0, if *first >= 0xc0 { 0xc0 } else { 0x80 });
    if *first < 0x80 {
        return Some((false, &bytes[..1], rest));
    }
    let short = usize::from(first - base);
    let (payload, after) = if short <= 55 {
        rest.split_at_checked(short)?
    } else {
        let (length, rest) = rest.split_at_checked(short - 55)?;
        if length[0] == 0 || length.len() > 8 {
            return None;
        }
        let length = length.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        if length <= 55 {
            return None;
        }
        rest.split_at_checked(usize::try_from(length).ok()?)?
    };
    let byte_alone = !list && matches!(payload, [byte] if *byte < 0x80);
    (!byte_alone).then_some((list, payload, after))
}

fn head(base: u8, length: usize) -> Vec<u8> {
    if length <= 55 {
        return vec![base + length as u8];
    }
    let bytes = length.to_be_bytes();
    let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(0)..];
    [&[base + 55 + bytes.len() as u8], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = [7; 300];
        let items: [&[u8]; 5] = [&[], &[0x7f], &[0x80], &long[..56], &long];
        let encoded = list(&items.map(string));
        assert_eq!(strings(&encoded), Some(items.to_vec()));
        assert_eq!(strings(&encoded[..encoded.len() - 1]), None);
        assert_eq!(strings(&[&encoded[..], &[0]].concat()), None);
        for other in [&[0xc2, 0x81, 0x7f][..], &[0xc1, 0xc0], &[0xf8, 1, 1], &[0xf9, 0, 60], &[0x80], &[]] {
            assert_eq!(strings(other), None, "{other:?}");
        }
    }
}
