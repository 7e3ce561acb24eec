//! FNV-1a, for numbers that are stored in the cluster: every build of no502 has to find the same ones, which the hashers of the
//! standard library do not promise.

const OFFSET_32: u32 = 0x811c_9dc5;
const PRIME_32: u32 = 0x0100_0193;
const OFFSET_64: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME_64: u64 = 0x0100_0000_01b3;

pub(super) fn fnv_32(text: &str) -> u32 {
    text.bytes().fold(OFFSET_32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME_32))
}

/// Of several texts, as if a zero byte stood between two.
pub(super) fn fnv_64(texts: &[&str]) -> u64 {
    let bytes = texts.join("\0");
    bytes.bytes().fold(OFFSET_64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME_64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_algorithm() {
        assert_eq!([fnv_32(""), fnv_32("a"), fnv_32("foobar")], [0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968]);
        let found = [fnv_64(&[]), fnv_64(&["a"]), fnv_64(&["foobar"])];
        assert_eq!(found, [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]);
        assert_ne!(fnv_64(&["ab", "c"]), fnv_64(&["a", "bc"]));
    }
}
