//! Parsed records as a file, so that the next run need not unpack the archives: with the digest of what they were read from,
//! and one of itself.
//!
//! Numbers are little-endian: magic, version, digest of the sources (32 bytes), length of a JSON text and the text, then of
//! each record its id and the number of its cells (`u32`), of all cells their places (`u16`) and values (`f64`), and at the
//! end SHA-256 of all before it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::archive::LeftOut;
use super::record::{FEATURES, HOURS, Record};

const MAGIC: &[u8; 16] = b"fewsteps records";

/// What of the format, or of how records are parsed, has changed since the first.
const VERSION: u32 = 1;

const DIGEST: usize = 32;

/// What was read of the archives.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub(super) records: Vec<Record>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Why a cache is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("is damaged")]
    Damaged,
    #[error("is of another version of fewsteps")]
    Version,
    #[error("is of other archives")]
    Sources,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    records: usize,
    left_out: Vec<LeftOut>,
}

impl Parsed {
    /// The bytes of the file.
    pub(super) fn encode(&self, sources: &[u8; DIGEST]) -> anyhow::Result<Vec<u8>> {
        let header = Header { records: self.records.len(), left_out: self.left_out.clone() };
        let header = serde_json::to_vec(&header)?;
        let cells: usize = self.records.iter().map(|record| record.cells.len()).sum();
        let mut bytes = Vec::with_capacity(128 + header.len() + 8 * self.records.len() + 10 * cells);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(sources);
        bytes.extend_from_slice(&u32::try_from(header.len())?.to_le_bytes());
        bytes.extend_from_slice(&header);
        for record in &self.records {
            bytes.extend_from_slice(&record.id.to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(record.cells.len())?.to_le_bytes());
        }
        let cells = || self.records.iter().flat_map(|record| &record.cells);
        bytes.extend(cells().flat_map(|(place, _)| place.to_le_bytes()));
        bytes.extend(cells().flat_map(|(_, value)| value.to_le_bytes()));
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(digest.as_slice());
        Ok(bytes)
    }

    /// What the bytes of a file say, if they are whole and of these sources.
    pub(super) fn decode(bytes: &[u8], sources: &[u8; DIGEST]) -> Result<Self, NotTaken> {
        let (body, digest) = bytes.split_last_chunk::<DIGEST>().ok_or(NotTaken::Damaged)?;
        if !body.starts_with(MAGIC) || Sha256::digest(body).as_slice() != digest {
            return Err(NotTaken::Damaged);
        }
        let mut rest = Rest(&body[MAGIC.len()..]);
        if rest.u32()? != VERSION {
            return Err(NotTaken::Version);
        }
        if rest.take(DIGEST)? != sources {
            return Err(NotTaken::Sources);
        }
        let length = rest.u32()? as usize;
        let header: Header = serde_json::from_slice(rest.take(length)?).map_err(|_| NotTaken::Damaged)?;
        let heads = rest.take(header.records.checked_mul(8).ok_or(NotTaken::Damaged)?)?;
        let heads: Vec<[u32; 2]> = heads.chunks_exact(8).map(|head| [0, 4].map(|at| word(&head[at..]))).collect();
        let cells: usize = heads.iter().map(|head| head[1] as usize).sum();
        let places = rest.take(cells.checked_mul(2).ok_or(NotTaken::Damaged)?)?;
        let values = rest.take(cells.checked_mul(8).ok_or(NotTaken::Damaged)?)?;
        let place = |at: &[u8]| u16::from_le_bytes([at[0], at[1]]);
        let value = |at: &[u8]| f64::from_bits(u64::from(word(at)) | u64::from(word(&at[4..])) << 32);
        let mut cells = places.chunks_exact(2).map(place).zip(values.chunks_exact(8).map(value));
        let of = |head: &[u32; 2]| Record { id: head[0], cells: cells.by_ref().take(head[1] as usize).collect() };
        let records: Vec<Record> = heads.iter().map(of).collect();
        let within = |cell: &(u16, f64)| usize::from(cell.0) < HOURS * FEATURES.len();
        if !rest.0.is_empty() || !records.iter().flat_map(|record| &record.cells).all(within) {
            return Err(NotTaken::Damaged);
        }
        Ok(Self { records, left_out: header.left_out })
    }
}

/// What of a file is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NotTaken> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(NotTaken::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, NotTaken> {
        self.take(4).map(word)
    }
}

/// The first four of at least as many bytes.
fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed() -> Parsed {
        let records = vec![
            Record { id: 9, cells: vec![(0, -1.0), (1812, f64::MIN_POSITIVE)] },
            Record { id: 7, cells: vec![(3, 0.1 + 0.2)] },
        ];
        Parsed { records, left_out: vec![LeftOut { name: "8.txt".to_owned(), why: "has no observation".to_owned() }] }
    }

    /// The bytes with the digest that they should have.
    fn signed(body: &[u8]) -> Vec<u8> {
        [body, Sha256::digest(body).as_slice()].concat()
    }

    #[test]
    fn what_was_written_is_read() {
        for parsed in [parsed(), Parsed::default()] {
            let bytes = parsed.encode(&[5; 32]).expect("small");
            assert_eq!(Parsed::decode(&bytes, &[5; 32]), Ok(parsed));
            assert_eq!(Parsed::decode(&bytes, &[6; 32]), Err(NotTaken::Sources));
        }
    }

    #[test]
    fn damage_is_seen_anywhere() {
        let bytes = parsed().encode(&[5; 32]).expect("small");
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            assert_eq!(Parsed::decode(&flipped, &[5; 32]), Err(NotTaken::Damaged), "byte {place}");
            assert_eq!(Parsed::decode(&bytes[..place], &[5; 32]), Err(NotTaken::Damaged), "cut at {place}");
        }
        let body = &bytes[..bytes.len() - 32];
        let mut newer = body.to_vec();
        newer[16] += 1;
        assert_eq!(Parsed::decode(&signed(&newer), &[5; 32]), Err(NotTaken::Version));
        // Nor is what somebody signed trusted: lengths, counts and places.
        for place in 20 + 32..body.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut other = body.to_vec();
                other[place] = value;
                if let Ok(found) = Parsed::decode(&signed(&other), &[5; 32]) {
                    assert!(found.records.iter().flat_map(|record| &record.cells).all(|cell| cell.0 < 1813));
                }
            }
        }
    }
}
