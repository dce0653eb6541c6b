//! [`DataIdentity`]: by what samples are known again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::irregular::Irregular;
use super::samples::{Rows, Samples, Wanted};
use super::set::Data;

/// Samples as they were read, however their files were packed: how many, and a digest of them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataIdentity {
    /// Samples to train on; of moments, their times.
    pub(crate) train: usize,
    pub(crate) test: usize,
    pub(crate) sha256: String,
}

impl DataIdentity {
    pub(crate) fn of(data: &Data) -> Self {
        let mut hash = Sha256::new();
        let [train, test] = [&data.train, &data.test].map(|samples| absorb(&mut hash, samples));
        let sha256 = hex(hash.finalize().as_slice());
        Self { train, test, sha256 }
    }
}

/// The digest of a file's bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds samples to the digest, each list after its length; how many there are.
fn absorb(hash: &mut Sha256, samples: &Samples) -> usize {
    match samples {
        Samples::Images(images) => {
            hash.update([0, images.white]);
            hash.update([images.width, images.labels.len()].map(|n| (n as u64).to_le_bytes()).concat());
            hash.update(&images.pixels);
            hash.update(&images.labels);
            images.labels.len()
        }
        Samples::Rows(rows) => absorb_rows(hash, rows),
        Samples::Irregular(irregular) => absorb_irregular(hash, irregular),
        Samples::Moments(moments) => {
            hash.update([2]);
            hash.update((moments.means.len() as u64).to_le_bytes());
            let states = moments.means.iter().chain(&moments.variances).flatten();
            absorb_numbers(hash, moments.start.iter().chain(states));
            moments.means.len()
        }
    }
}

/// Trajectories in the plane at times of the task's are as earlier versions had them.
fn absorb_rows(hash: &mut Sha256, rows: &Rows) -> usize {
    let counts =
        |hash: &mut Sha256, counts: &[usize]| counts.iter().for_each(|&n| hash.update((n as u64).to_le_bytes()));
    let count = rows.len();
    match &rows.wanted {
        Wanted::Numbers { times, width: 2, numbers, weights }
            if rows.width == 2 && rows.times.is_empty() && weights.is_empty() =>
        {
            hash.update([1]);
            counts(hash, &[count, *times]);
            absorb_numbers(hash, rows.inputs.iter().chain(numbers));
        }
        Wanted::Numbers { times, width, numbers, weights } => {
            hash.update([if weights.is_empty() { 3 } else { 6 }]);
            counts(hash, &[count, rows.width, *times, *width, rows.times.len()]);
            absorb_numbers(hash, rows.inputs.iter().chain(numbers).chain(&rows.times).chain(weights));
        }
        Wanted::Classes(classes) => {
            hash.update([4]);
            counts(hash, &[count, rows.width]);
            absorb_numbers(hash, &rows.inputs);
            classes.iter().for_each(|class| hash.update(class.to_le_bytes()));
        }
        Wanted::Nothing => {
            hash.update([5]);
            counts(hash, &[count, rows.width]);
            absorb_numbers(hash, &rows.inputs);
        }
    }
    count
}

fn absorb_irregular(hash: &mut Sha256, irregular: &Irregular) -> usize {
    let Irregular { records, chosen, .. } = irregular;
    hash.update([7]);
    hash.update([chosen.len(), records.width, records.times.len()].map(|n| (n as u64).to_le_bytes()).concat());
    absorb_numbers(hash, &records.times);
    for &record in chosen {
        let record = record as usize;
        hash.update(records.ids[record].to_le_bytes());
        let cells = records.cells(record);
        hash.update((cells.len() as u64).to_le_bytes());
        for (place, value) in cells {
            hash.update((place as u64).to_le_bytes());
            hash.update(value.to_le_bytes());
        }
    }
    chosen.len()
}

fn absorb_numbers<'a>(hash: &mut Sha256, numbers: impl IntoIterator<Item = &'a f64>) {
    numbers.into_iter().for_each(|x| hash.update(x.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::super::digits;
    use super::super::samples::Images;
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), abc, "FIPS 180-4, example of one block");
    }

    #[test]
    fn the_digest_is_of_every_byte() {
        let digest = |change: &dyn Fn(&mut Images)| {
            let mut data = digits().expect("embedded");
            let Samples::Images(images) = &mut data.test else { panic!("images") };
            change(images);
            DataIdentity::of(&data).sha256
        };
        let changes: [&dyn Fn(&mut Images); 4] =
            [&|_| {}, &|images| images.pixels[17] ^= 1, &|images| images.labels[359] ^= 1, &|images| {
                images.labels.truncate(359);
            }];
        let digests = changes.map(digest);
        for (i, a) in digests.iter().enumerate() {
            assert_eq!(digests.iter().position(|b| a == b), Some(i), "change {i} is seen");
        }
    }
}
