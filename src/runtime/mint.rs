//! New values. Pure: the random bytes are an argument.

use crate::model::{Generator, Secret};

/// `A-Z a-z 0-9`.
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Makes a value of this shape out of random bytes.
pub fn mint(generator: Generator, random: &mut dyn FnMut(&mut [u8])) -> Secret {
    let mut bytes = |count: u16| {
        let mut bytes = vec![0; usize::from(count)];
        random(&mut bytes);
        Secret::new(bytes)
    };
    match generator {
        Generator::Hex(count) => {
            Secret::new(bytes(count).expose().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
        }
        Generator::Base64(count) => Secret::new(base64(bytes(count).expose())),
        Generator::Alphanumeric(count) => {
            let mut text = Vec::with_capacity(usize::from(count));
            while text.len() < usize::from(count) {
                // 248 is the largest multiple of 62 in a byte: beyond it some letters would be likelier than others.
                let found = bytes(count);
                text.extend(
                    found.expose().iter().filter(|byte| **byte < 248).map(|byte| LETTERS[usize::from(byte % 62)]),
                );
            }
            text.truncate(usize::from(count));
            Secret::new(text)
        }
        Generator::Uuid => {
            let mut random_bytes = [0; 16];
            random_bytes.copy_from_slice(bytes(16).expose());
            let uuid = uuid::Builder::from_random_bytes(random_bytes).into_uuid();
            Secret::new(uuid.hyphenated().to_string().into_bytes())
        }
    }
}

const fn digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[nibble as usize]
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { letter } else { b'=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted(generator: Generator, seed: u8) -> String {
        let mut next = seed;
        let mut random = |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_add(1);
            }
        };
        String::from_utf8(mint(generator, &mut random).expose().to_vec()).unwrap()
    }

    #[test]
    fn each_shape_is_the_one_that_its_name_says() {
        assert_eq!(minted(Generator::Hex(3), 0x0f), "0f1011");
        assert_eq!(minted(Generator::Base64(3), b'M'), "TU5P");
        assert_eq!(minted(Generator::Base64(4), b'f'), "ZmdoaQ==");
        assert_eq!(minted(Generator::Base64(5), b'f'), "ZmdoaWo=");
        assert_eq!(minted(Generator::Uuid, 0).as_bytes()[14], b'4');
        assert_eq!(minted(Generator::Uuid, 0).len(), 36);
        assert_eq!(minted(Generator::Alphanumeric(32), 0).len(), 32);
    }

    #[test]
    fn no_letter_is_likelier_than_another() {
        // 256 consecutive bytes hold each of the 248 kept ones once: each letter four times.
        let text = minted(Generator::Alphanumeric(248), 0);
        for letter in LETTERS {
            assert_eq!(text.bytes().filter(|byte| byte == letter).count(), 4, "{}", char::from(*letter));
        }
    }
}
