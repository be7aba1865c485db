//! Chance, seeded: the same seed and the same calls give the same run.

use std::time::Duration;

/// SplitMix64: eight bytes of state, so thousands of workers can each own one.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The generator of stream `stream` (a worker's number) under `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream.wrapping_add(0x5851_F42D_4C95_7F2D))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// True with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        unit(self.next()) < probability
    }

    /// A duration between the two bounds, both in milliseconds and both possible.
    pub(crate) fn millis(&mut self, (min, max): (u64, u64)) -> Duration {
        if max <= min {
            return Duration::from_millis(min);
        }
        let micros = (max - min) * 1_000;
        Duration::from_micros(min * 1_000 + self.next() % (micros + 1))
    }

    /// `length` characters of `alphabet`.
    pub(crate) fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length)
            .map(|_| char::from(alphabet[(self.next() % alphabet.len() as u64) as usize]))
            .collect()
    }

    /// A WhatsApp message id as all three engines make them: `3EB0` and 18 hex digits.
    pub(crate) fn message_id(&mut self) -> String {
        format!("3EB0{:016X}{:02X}", self.next(), self.next() as u8)
    }

    /// A webhook envelope id: `evt_` and a lower-case ULID of the given Unix milliseconds.
    pub(crate) fn event_id(&mut self, unix_millis: i64) -> String {
        const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut id = String::with_capacity(30);
        id.push_str("evt_");
        for place in (0..10).rev() {
            let digit = (unix_millis >> (5 * place)) & 31;
            id.push(char::from(CROCKFORD[digit as usize]));
        }
        id.push_str(&self.text(CROCKFORD, 16));
        id
    }
}

/// A number in `0.0..1.0` that depends on `text` and `seed` only: the same phone number gets the
/// same luck however often it is asked.
pub(crate) fn luck(seed: u64, text: &str) -> f64 {
    let hash = text
        .bytes()
        .fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
    unit(hash)
}

fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_run_and_ids_have_their_shape() {
        let mut a = Rng::new(7, 1);
        let mut b = Rng::new(7, 1);
        assert_eq!(a.message_id(), b.message_id());
        assert_ne!(a.message_id(), Rng::new(7, 2).message_id());
        let id = a.message_id();
        assert_eq!((id.len(), &id[..4]), (22, "3EB0"));
        let event = a.event_id(1_795_352_529_814);
        assert!(event.starts_with("evt_01m81nk2wp"), "{event}");
        assert_eq!(event.len(), 30);
        for _ in 0..1_000 {
            let pause = a.millis((3, 9));
            assert!(pause >= Duration::from_millis(3) && pause <= Duration::from_millis(9));
        }
    }

    #[test]
    fn luck_is_stable_and_spread() {
        let lucky = (0..10_000)
            .filter(|n| luck(1, &format!("1555{n}")) < 0.3)
            .count();
        assert!((2_700..3_300).contains(&lucky), "{lucky}");
        assert_eq!(luck(1, "15550001"), luck(1, "15550001"));
    }
}
