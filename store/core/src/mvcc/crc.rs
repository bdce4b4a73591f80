//! Joins checksums: the crc32c of a sequence from the crcs of its parts, without their bytes. Arithmetic on polynomials over two
//! elements, modulo the Castagnoli polynomial, lowest power in the highest bit.

const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// x^(8·2^k) for k = 0..32: multiplying by it appends 2^k zero bytes.
const APPEND: [u32; 32] = {
    let mut table = [0; 32];
    // x^8
    let mut power = ONE >> 8;
    let mut k = 0;
    while k < 32 {
        table[k] = power;
        power = multiply(power, power);
        k += 1;
    }
    table
};

const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// What multiplies a crc when `bytes` more bytes follow.
fn appended(mut bytes: u32) -> u32 {
    let mut power = ONE;
    while bytes != 0 {
        power = multiply(power, APPEND[bytes.trailing_zeros() as usize]);
        bytes &= bytes - 1;
    }
    power
}

/// The crc32c of a sequence that grows at its front.
pub(super) struct Suffix {
    crc: u32,
    /// What a crc before the suffix is multiplied with.
    shift: u32,
}

impl Suffix {
    pub fn empty() -> Suffix {
        Suffix { crc: 0, shift: ONE }
    }

    pub fn prepend(&mut self, crc: u32, bytes: u32) {
        self.crc ^= multiply(crc, self.shift);
        self.shift = multiply(self.shift, appended(bytes));
    }

    pub fn crc(&self) -> u32 {
        self.crc
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn joined_crcs_equal_the_crc_of_the_whole(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..6),
        ) {
            let mut suffix = Suffix::empty();
            for part in parts.iter().rev() {
                suffix.prepend(crc32c::crc32c(part), part.len() as u32);
            }
            prop_assert_eq!(suffix.crc(), crc32c::crc32c(&parts.concat()));
        }
    }
}
