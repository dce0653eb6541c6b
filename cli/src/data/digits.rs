//! The UCI digits, embedded in the program.

use std::io::Read;

use anyhow::{Context, ensure};
use fewsteps::{Purpose, Random};

use super::file;
use super::samples::{Images, Samples};
use super::set::Data;

/// 1,797 lines of 64 pixels from 0 to 16 and a label; origin and licence are in `data/README.md`.
const DIGITS: &[u8] = include_bytes!("../../data/digits.csv.gz");

/// How many images are trained on: four fifths.
const TRAIN: usize = 1437;

/// The digits in a random order that is the same for everyone, divided into 1,437 to train on and 360 to test on.
pub(crate) fn digits() -> anyhow::Result<Data> {
    let images = images()?;
    let mut order: Vec<usize> = (0..images.labels.len()).collect();
    Random::new(0, Purpose::Split, 0).shuffle(&mut order);
    let (train, test) = order.split_at(TRAIN.min(order.len()));
    Ok(Data::new(Samples::Images(images.select(train)), Samples::Images(images.select(test))))
}

fn images() -> anyhow::Result<Images> {
    let mut text = String::new();
    let unpacked = file::unpack(DIGITS).and_then(|mut digits| digits.read_to_string(&mut text));
    unpacked.context("the embedded digits cannot be unpacked")?;
    let mut images = Images { pixels: Vec::new(), width: 64, white: 16, labels: Vec::new() };
    for row in file::rows(&text) {
        let damaged = || format!("the embedded digits are damaged: line {}", row.line);
        let numbers: Vec<u8> =
            row.fields.iter().map(|field| field.parse()).collect::<Result<_, _>>().with_context(damaged)?;
        ensure!(numbers.len() == 65 && numbers[64] < 10, damaged());
        images.pixels.extend_from_slice(&numbers[..64]);
        images.labels.push(numbers[64]);
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts() {
        let images = images().expect("embedded");
        assert_eq!(images.labels.len(), 1797, "images");
        let count = |digit| images.labels.iter().filter(|&&label| label == digit).count();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(count), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let sum: u64 = images.pixels.iter().map(|&pixel| u64::from(pixel)).sum();
        assert!((sum as f64 / images.pixels.len() as f64 - 4.8842).abs() < 5e-5, "mean pixel");
        assert_eq!(images.pixels.iter().max(), Some(&16), "white");
    }

    #[test]
    fn split_uses_every_image_once() {
        let (Data { train, test, .. }, all) = (digits().expect("embedded"), images().expect("embedded"));
        assert_eq!((train.len(), test.len()), (1437, 360), "sizes");
        let (Samples::Images(train), Samples::Images(test)) = (train, test) else { panic!("digits are images") };
        let mut parts: Vec<&[u8]> = train.pixels.chunks(64).chain(test.pixels.chunks(64)).collect();
        let mut whole: Vec<&[u8]> = all.pixels.chunks(64).collect();
        parts.sort_unstable();
        whole.sort_unstable();
        assert_eq!(parts, whole, "the same images");
    }
}
