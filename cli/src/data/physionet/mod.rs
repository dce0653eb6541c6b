//! `PhysioNet`'s challenge of 2012 as the papers on latent ODEs have it: 8,000 stays in intensive care, 37 features at 49 whole
//! hours.
//!
//! Times go to the nearest hour, the even one of two; what falls into an hour is averaged in the order of the file; values are
//! `(x - least) / largest` over all records. Data: I. Silva, G. Moody, D. J. Scott, L. A. Celi, R. G. Mark, 2012; preparation:
//! Y. Rubanova, R. T. Q. Chen, D. Duvenaud, 2019; these features and hours: J. Kelly, J. Bettencourt, M. J. Johnson, D. Duvenaud,
//! 2020.

mod archive;
mod cache;
mod division;
mod record;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use archive::Archives;
pub(crate) use archive::LeftOut;
use cache::Parsed;
pub(crate) use division::RecordDivision;
use record::{FEATURES, HOURS};

use super::irregular::{Irregular, Records, Spread};
use super::samples::Samples;
use super::source::Source;
use crate::files;
use crate::numbers;

/// Files that are named where they are left out; of more there is a count.
const NAMED: usize = 10;

/// What of the challenge a run is made on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Physionet {
    pub(crate) division: RecordDivision,
    pub(crate) records: usize,
    /// Files that are no records.
    pub(crate) left_out: usize,
    /// Observed cells of `records` x 49 hours x 37 features.
    pub(crate) observed: usize,
    /// Of the observed values, normalised.
    #[serde(with = "numbers")]
    pub(crate) mean: f64,
    #[serde(with = "numbers")]
    pub(crate) deviation: f64,
}

/// Reads the archives of a folder, or the cache of an earlier run, and divides the records.
pub(super) fn physionet(division: RecordDivision, source: &Source) -> anyhow::Result<(Physionet, Samples, Samples)> {
    let archives = Archives::find(source.data.as_deref())?;
    let Parsed { records: parsed, left_out } = cached(&archives, source.cache.as_deref())?;
    for LeftOut { name, why } in left_out.iter().take(NAMED) {
        log::warn!("{name}: left out: {why}");
    }
    if left_out.len() > NAMED {
        log::warn!("{} files are left out, of which the first {NAMED} are named", left_out.len());
    }
    ensure!(parsed.len() >= 5, "physionet: {} records are too few to divide; there have to be 5 or more", parsed.len());
    let last = (HOURS - 1) as f64;
    let mut records = Records::new((0..HOURS).map(|hour| hour as f64 / last).collect(), FEATURES.len());
    for record in parsed {
        records.push(record.id, record.cells);
    }
    records.normalise(&records.ranges());
    let (train, test) = division.of(records.len())?;
    let Spread { mean, deviation } = records.spread();
    let own = Physionet {
        division,
        records: records.len(),
        left_out: left_out.len(),
        observed: records.observed(),
        mean,
        deviation,
    };
    log::info!("{}", own.told());
    let records = Arc::new(records);
    let samples = |chosen| Samples::Irregular(Irregular::new(&records, chosen));
    let (train, test) = (samples(train), samples(test));
    Ok((own, train, test))
}

/// What the archives hold, from the cache if it is of these.
fn cached(archives: &Archives, cache: Option<&Path>) -> anyhow::Result<Parsed> {
    let Some(cache) = cache else { return parsed(archives) };
    let sources = archives.digest()?;
    if let Some(bytes) = files::read_if_there(cache)? {
        match Parsed::decode(&bytes, &sources) {
            Ok(found) => {
                log::info!("{} records as {} has them", found.records.len(), cache.display());
                return Ok(found);
            }
            Err(why) => log::warn!("{}: {why}; the archives are read anew", cache.display()),
        }
    }
    let found = parsed(archives)?;
    let folder = cache.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all).map_err(anyhow::Error::from);
    match made.and_then(|()| files::write(cache, &found.encode(&sources)?)) {
        Ok(()) => log::info!("{}: holds the parsed records; later runs read it", cache.display()),
        Err(error) => {
            log::warn!("the parsed records are not kept, and later runs unpack the archives again: {error:#}");
        }
    }
    Ok(found)
}

fn parsed(archives: &Archives) -> anyhow::Result<Parsed> {
    let (start, mut records) = (Instant::now(), Vec::new());
    let left_out = archives.read(|record| records.push(record))?;
    log::info!("{} records read in {:.1} s", records.len(), start.elapsed().as_secs_f64());
    Ok(Parsed { records, left_out })
}

impl Physionet {
    /// What it is, in a sentence.
    pub(crate) fn told(&self) -> String {
        let Self { division, records, left_out, observed, mean, deviation } = self;
        let share = *observed as f64 / (records * HOURS * FEATURES.len()) as f64;
        let others = if *left_out == 0 { String::new() } else { format!(", {left_out} files left out") };
        format!(
            "{records} records{others}: {observed} cells observed ({:.2} %), mean {mean:.6}, deviation {deviation:.6}; {}",
            100.0 * share,
            division.told()
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::file::tests::gzip;
    use crate::data::{BatchBuffer, Samples};

    /// An archive of these files.
    pub(super) fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes.as_slice()).expect("in memory");
        }
        builder.into_inner().expect("in memory")
    }

    /// A patient whose heart beats so fast at hour 1, and whose weight is known.
    pub(super) fn patient(id: u32, rate: u32) -> Vec<u8> {
        let rows = format!("00:00,RecordID,{id}\n00:00,Age,50\n00:00,Weight,{}\n01:10,HR,{rate}\n", 60 + id);
        format!("Time,Parameter,Value\n{rows}").into_bytes()
    }

    /// A folder with archives of ten patients and what is none.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let named = |id: u32| format!("set/{id}.txt");
        let names: Vec<String> = (0..10).map(named).collect();
        let files: Vec<(&str, Vec<u8>)> =
            names.iter().enumerate().map(|(i, name)| (name.as_str(), patient(i as u32, 50 + 10 * i as u32))).collect();
        let broken = [
            ("set/11.txt", b"Time,Parameter,Value\n00:00,RecordID,11\n00:00,Age,3\n".to_vec()),
            ("set/12.txt", b"Time,Parameter,Value\n99:99,HR,70\n".to_vec()),
            ("set/0.txt", patient(0, 1)),
        ];
        let (a, b) = (archive(&files[..6]), archive(&[&files[6..], &broken].concat()));
        std::fs::write(folder.path().join("set-a.tar.gz"), gzip(&a, usize::MAX)).expect("written");
        std::fs::write(folder.path().join("set-b.tar.gz"), gzip(&b, 1000)).expect("written");
        folder
    }

    fn source(folder: &Path, cache: Option<PathBuf>) -> Source {
        Source { data: Some(folder.to_owned()), test: None, cache }
    }

    const BY_RECORD: RecordDivision = RecordDivision::ByRecord { share: 0.2, seed: 0 };

    #[test]
    fn records_are_normalised_and_divided() {
        let folder = folder();
        let (own, train, test) = physionet(BY_RECORD, &source(folder.path(), None)).expect("read");
        assert_eq!((own.records, own.left_out, own.observed), (10, 3, 20), "{own:?}");
        assert_eq!((train.len(), test.len(), train.sizes(0)), (8, 2, (49 * 75, 37, 49)));
        let Samples::Irregular(Irregular { records, .. }) = &train else { panic!("irregular") };
        assert_eq!((records.times[0], records.times[24], records.times[48]), (0.0, 0.5, 1.0));
        // Weights from 60 to 69, rates from 50 to 140: over the largest.
        let cells: Vec<(usize, f64)> = records.cells(3).collect();
        assert_eq!((records.ids[3], cells), (3, vec![(0, 3.0 / 69.0), (37 + 15, 30.0 / 140.0)]));
        let mean = (0..10).map(|i| f64::from(i) / 69.0 + f64::from(10 * i) / 140.0).sum::<f64>() / 20.0;
        assert!((own.mean - mean).abs() < 1e-15);
        let mut buffer = BatchBuffer::<f64>::default();
        let inputs = buffer.gather(&train, &[0]).inputs;
        let Samples::Irregular(Irregular { chosen, .. }) = &train else { panic!("irregular") };
        let weight = f64::from(chosen[0]) / 69.0;
        assert_eq!((inputs[0], inputs[37], inputs[74]), (weight, 1.0, 1.0 / 48.0), "value, mask, step");
        assert_eq!((inputs[75], inputs[75 + 37 + 15], inputs[49 * 75 - 1]), (0.0, 1.0, 0.0), "hour 1, and the end");
        assert!(own.told().contains("10 records, 3 files left out: 20 cells observed (0.11 %)"), "{}", own.told());
    }

    #[test]
    fn a_cache_spares_the_archives_and_never_changes_what_is_read() {
        let folder = folder();
        let cache = folder.path().join("records.cache");
        let read = |cache: Option<PathBuf>| {
            let archives = Archives::find(Some(folder.path())).expect("there");
            cached(&archives, cache.as_deref()).expect("read")
        };
        let plain = read(None);
        assert!(!cache.exists(), "unasked");
        assert_eq!(read(Some(cache.clone())), plain, "as it is written");
        let whole = std::fs::read(&cache).expect("there");
        assert_eq!(read(Some(cache.clone())), plain, "as it is read");
        // Damaged, of another version, or nothing at all: read anew, and written whole.
        for broken in [whole[..whole.len() / 2].to_vec(), Vec::new(), b"something else".repeat(20)] {
            std::fs::write(&cache, broken).expect("written");
            assert_eq!(read(Some(cache.clone())), plain);
            assert_eq!(std::fs::read(&cache).expect("there"), whole, "mended");
        }
        // Other archives: one patient's heart beats faster.
        let other = archive(&[("set/7.txt", patient(7, 300))]);
        std::fs::write(folder.path().join("set-b.tar.gz"), gzip(&other, usize::MAX)).expect("written");
        let found = read(Some(cache));
        assert_eq!((found.records.len(), found.records[6].cells[1].1), (7, 300.0), "not what the cache was of");
    }

    #[test]
    fn a_cache_is_read_instead_of_the_archives() {
        let folder = folder();
        let cache = folder.path().join("records.cache");
        let archives = Archives::find(Some(folder.path())).expect("there");
        let other = Parsed { records: vec![record::Record { id: 99, cells: vec![(0, 1.0)] }], left_out: Vec::new() };
        let sources = archives.digest().expect("read");
        std::fs::write(&cache, other.encode(&sources).expect("small")).expect("written");
        assert_eq!(cached(&archives, Some(&cache)).expect("read"), other);
    }

    #[test]
    fn too_few_records_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for (set, id) in [("set-a", 1), ("set-b", 2)] {
            let bytes = archive(&[("x/1.txt", patient(1, 60)), ("x/2.txt", patient(id, 60))]);
            std::fs::write(folder.path().join(format!("{set}.tar.gz")), bytes).expect("written");
        }
        let error = format!("{:#}", physionet(BY_RECORD, &source(folder.path(), None)).expect_err("refused"));
        assert!(error.contains("2 records are too few"), "{error}");
    }
}
