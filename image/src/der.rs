//! DER (X.690) as far as signatures need it: written only, and read by nobody here.

/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// SET.
pub const SET: u8 = 0x31;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;

/// `2.16.840.1.101.3.4.2.1`.
pub const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// `1.2.840.113549.1.1.1`.
pub const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// `1.2.840.113549.1.7.1`.
pub const DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01];
/// `1.2.840.113549.1.7.2`.
pub const SIGNED_DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02];
/// `1.2.840.113549.1.9.3`.
pub const CONTENT_TYPE: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x03];
/// `1.2.840.113549.1.9.4`.
pub const MESSAGE_DIGEST: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x04];
/// `1.3.6.1.4.1.311.2.1.4`, SPC_INDIRECT_DATA.
pub const SPC_INDIRECT_DATA: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
/// `1.3.6.1.4.1.311.2.1.15`, SPC_PE_IMAGE_DATA.
pub const SPC_PE_IMAGE_DATA: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0F];

/// The explicit or implicit constructed tag `[number]`.
pub const fn context(number: u8) -> u8 {
    0xA0 | number
}

/// One element: tag, length, the parts one after another.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes of length.
            out.push(0x80 | significant.len() as u8);
            out.extend(significant);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// An object identifier from its encoded content.
pub fn oid(content: &[u8]) -> Vec<u8> {
    element(OID, &[content])
}

/// AlgorithmIdentifier with NULL as parameters.
pub fn algorithm(content: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&oid(content), &[0x05, 0x00]])
}

#[cfg(test)]
mod tests {
    use super::element;

    #[test]
    fn lengths_are_the_shortest() {
        assert_eq!(element(4, &[&[7; 127]]).get(..2), Some(&[4, 127][..]));
        assert_eq!(element(4, &[&[7; 100], &[7; 28]]).get(..3), Some(&[4, 0x81, 128][..]));
        assert_eq!(element(4, &[&[7; 256]]).get(..4), Some(&[4, 0x82, 1, 0][..]));
    }
}
