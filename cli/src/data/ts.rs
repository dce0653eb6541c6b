//! The .ts form of the archives of time series: lines that begin with `#` or `@`, and after `@data` one case a line, its
//! channels apart by colons, the numbers of a channel by commas, and last its class.

/// Cases of unequal length, each with a class.
#[derive(Debug, PartialEq)]
pub(super) struct Utterances {
    /// Numbers at a time.
    pub(super) channels: usize,
    /// The classes that the header names.
    named: Vec<String>,
    pub(super) all: Vec<Utterance>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Utterance {
    /// `[time][channel]`.
    pub(super) numbers: Vec<f64>,
    pub(super) class: String,
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("there is no line @data with cases below it")]
    NoData,
    #[error("line {line}: stands above @data, and begins neither with # nor with @")]
    Header { line: usize },
    #[error("line {line}: has no class behind a colon at its end, or one that the header does not name: {text:?}")]
    Class { line: usize, text: String },
    #[error("line {line}: {found} channels, where the cases before have {expected}")]
    Channels { line: usize, found: usize, expected: usize },
    #[error("line {line}: channel {channel} has {found} numbers, where the first has {expected}")]
    Length { line: usize, channel: usize, found: usize, expected: usize },
    #[error("line {line}, channel {channel}: {text:?} is not a finite number")]
    Number { line: usize, channel: usize, text: String },
}

impl Utterances {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let mut named = Vec::new();
        loop {
            let (line, text) = lines.next().ok_or(Fault::NoData)?;
            let mut words = text.split_whitespace();
            match words.next() {
                Some(word) if word.eq_ignore_ascii_case("@data") => break,
                Some(word) if word.eq_ignore_ascii_case("@classLabel") => {
                    named = words.skip(1).map(str::to_owned).collect();
                }
                Some(word) if !word.starts_with(['#', '@']) => return Err(Fault::Header { line }),
                _ => {}
            }
        }
        let mut found = Self { channels: 0, named, all: Vec::new() };
        for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            found.push(line, text)?;
        }
        if found.all.is_empty() { Err(Fault::NoData) } else { Ok(found) }
    }

    fn push(&mut self, line: usize, text: &str) -> Result<(), Fault> {
        let no_class = |class: &str| Fault::Class { line, text: class.chars().take(40).collect() };
        let (channels, class) = text.rsplit_once(':').ok_or_else(|| no_class(text))?;
        let class = class.trim();
        if class.is_empty() || !(self.named.is_empty() || self.named.iter().any(|named| named == class)) {
            return Err(no_class(class));
        }
        let channels: Vec<&str> = channels.split(':').collect();
        if self.all.is_empty() {
            self.channels = channels.len();
        }
        if channels.len() != self.channels {
            return Err(Fault::Channels { line, found: channels.len(), expected: self.channels });
        }
        let times = channels[0].split(',').count();
        let mut numbers = vec![0.0; times * self.channels];
        for (c, channel) in channels.iter().enumerate() {
            let found = channel.split(',').count();
            if found != times {
                return Err(Fault::Length { line, channel: c + 1, found, expected: times });
            }
            for (t, text) in channel.split(',').map(str::trim).enumerate() {
                let number = text.parse::<f64>().ok().filter(|x| x.is_finite());
                let text = || text.chars().take(40).collect();
                numbers[t * self.channels + c] =
                    number.ok_or_else(|| Fault::Number { line, channel: c + 1, text: text() })?;
            }
        }
        self.all.push(Utterance { numbers, class: class.to_owned() });
        Ok(())
    }

    /// Times of the longest case.
    pub(super) fn longest(&self) -> usize {
        self.all.iter().map(|case| case.numbers.len() / self.channels).max().unwrap_or(0)
    }

    /// All classes of this and another text: those that the header names, then others in their order.
    pub(super) fn classes_with(&self, other: &Self) -> Vec<String> {
        let mut classes = self.named.clone();
        for case in self.all.iter().chain(&other.all) {
            if !classes.contains(&case.class) {
                classes.push(case.class.clone());
            }
        }
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_unequal_length() {
        let text = "# a remark\n@problemName x\n@classLabel true 1 2\n@data\n1,2.5,-3:4,5,6e-1:2\r\n\n7:8:1\n";
        let found = Utterances::parse(text).expect("good");
        let case = |numbers: &[f64], class: &str| Utterance { numbers: numbers.to_vec(), class: class.to_owned() };
        assert_eq!(found.all, [case(&[1.0, 4.0, 2.5, 5.0, -3.0, 0.6], "2"), case(&[7.0, 8.0], "1")], "[time][channel]");
        assert_eq!((found.channels, found.longest()), (2, 3));
        assert_eq!(found.classes_with(&found), ["1", "2"], "as the header has them");
        let unnamed = Utterances::parse("@DATA\n1:b\n2:a\n3:b\n").expect("good");
        assert_eq!(unnamed.classes_with(&unnamed), ["b", "a"], "as they come");
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_channel() {
        let head = "@classLabel true a b\n@data\n1,2:3,4:a\n";
        let text = |text: &str| text.to_owned();
        let line = 4;
        for (row, fault) in [
            ("1,2:3,4", Fault::Class { line, text: text("3,4") }),
            ("1,2:3,4:", Fault::Class { line, text: text("") }),
            ("1,2:3,4:c", Fault::Class { line, text: text("c") }),
            ("12", Fault::Class { line, text: text("12") }),
            ("1,2:a", Fault::Channels { line, found: 1, expected: 2 }),
            ("1,2:3:a", Fault::Length { line, channel: 2, found: 1, expected: 2 }),
            ("1,2:3,?:a", Fault::Number { line, channel: 2, text: text("?") }),
            ("1,NaN:3,4:a", Fault::Number { line, channel: 1, text: text("NaN") }),
            (":3:a", Fault::Number { line, channel: 1, text: text("") }),
        ] {
            assert_eq!(Utterances::parse(&format!("{head}{row}\n")), Err(fault), "{row:?}");
        }
        for empty in ["", "# nothing\n", "@data\n", "@data\n# nothing\n"] {
            assert_eq!(Utterances::parse(empty), Err(Fault::NoData), "{empty:?}");
        }
        assert_eq!(Utterances::parse("1:2:a\n@data\n"), Err(Fault::Header { line: 1 }));
    }
}
