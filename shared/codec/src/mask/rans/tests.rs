use proptest::prelude::*;

use super::*;

fn decode(bytes: &[u8], count: usize, most: u8) -> Result<Vec<i8>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut decoder = Decoder::new(&mut reader, most)?;
    let multiples = (0..count).map(|_| decoder.multiple()).collect::<Result<_, _>>()?;
    decoder.end().map(|()| multiples)
}

/// Bits that the multiples take at least if signs cost a bit: of each magnitude its empirical share.
fn entropy(multiples: &[i8]) -> f64 {
    let mut counts = [0_u32; 128];
    multiples.iter().for_each(|multiple| counts[usize::from(multiple.unsigned_abs())] += 1);
    let len = multiples.len() as f64;
    let bits = |&count: &u32| f64::from(count) * (len / f64::from(count)).log2();
    counts.iter().filter(|&&count| count > 0).map(bits).sum::<f64>() + len - f64::from(counts[0])
}

proptest! {
    #[test]
    fn multiples_come_back(
        most in prop::sample::select(vec![1_u8, 3, 7, 127]),
        numbers in prop::collection::vec(any::<i8>(), 1..600),
        zeros in 0_usize..4,
    ) {
        let within = |(at, number): (usize, &i8)| {
            if at % 4 < zeros { 0 } else { (i16::from(*number) % (i16::from(most) + 1)) as i8 }
        };
        let multiples: Vec<i8> = numbers.iter().enumerate().map(within).collect();
        let bytes = encode(&multiples, most);
        prop_assert_eq!(decode(&bytes, multiples.len(), most), Ok(multiples));
    }
}

#[test]
fn many_multiples_take_hardly_more_than_their_entropy() {
    // Of a geometric distribution, as multiples of Laplace values are.
    let mut state = 1_u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let magnitude = (state >> 12 & 0xffff).leading_zeros() as i8 - 16;
        if state >> 31 == 0 { magnitude.min(7) } else { -magnitude.min(7) }
    };
    let multiples: Vec<i8> = (0..43_000).map(|_| draw()).collect();
    let (bits, entropy) = (8.0 * encode(&multiples, 7).len() as f64, entropy(&multiples));
    assert!(bits < 1.005 * entropy, "{} of {}", bits, entropy);
}

#[test]
fn each_rule_is_checked() {
    let multiples = [0, 1, 0, 0, -1, 0, 0, 3, 0, 0, 0, -2, 1, 0, 0, 0];
    // Frequencies, the state, a word.
    let golden = encode(&multiples, 3);
    assert_eq!(golden, [0xc0, 1, 64, 64, 0x85, 0x59, 0x98, 4, 0x40, 0xd4]);
    assert_eq!(decode(&golden, 16, 3).as_deref(), Ok(&multiples[..]));
    let error = |bytes: &[u8]| decode(bytes, 16, 3).unwrap_err().to_string();
    assert_eq!(error(&[0x81, 8, 0, 0]), "byte 0: frequency is 1025, outside 0 to 1024");
    assert_eq!(error(&[1, 1, 1]), "byte 0: sum of frequencies is 3, outside 128 to 1024");
    assert_eq!(error(&[0x80, 8, 1, 0]), "byte 0: sum of frequencies is 1025, outside 128 to 1024");
    let state = 4;
    let mut low = golden.clone();
    low[state + 2..state + 4].fill(0);
    assert!(error(&low).starts_with(&format!("byte {state}: state is ")), "{}", error(&low));
    assert_eq!(error(&golden[..state + 3]), format!("byte {state}: the bytes end too early"));
    assert_eq!(error(&golden[..8]), "byte 8: the bytes end too early");
    let mut other = golden.clone();
    other[state] ^= 1;
    assert!(decode(&other, 16, 3).map_or(true, |found| found != multiples));
    let longer = [&golden[..], &[0]].concat();
    assert_eq!(error(&longer), "byte 10: 1 bytes follow the end");
}
