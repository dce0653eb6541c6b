//! [`Source`]: where data of one's own are, and [`Division`]: how they are divided.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::args::{OwnArgs, Split};

/// Share of the rows or series that is tested on, unless the command line says otherwise.
pub(super) const SHARE: f64 = 0.2;

/// The files of the data, as the command line named them. Where they lie is no part of what a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) data: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) test: Option<PathBuf>,
    /// Where what was read of large files is kept for the next time, of tasks that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<PathBuf>,
}

/// The file of a task, which is looked for in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedFile {
    pub(crate) task: String,
    pub(crate) name: String,
}

/// What is trained on and what is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Division {
    /// A share of all is tested on, drawn by a seed; of a single series its end.
    Share { share: f64, seed: u64 },
    /// What is tested on is in a file of its own.
    File,
    /// What comes after this time is tested on.
    Horizon(f64),
}

impl Division {
    /// The division that is asked for.
    pub(super) fn asked(args: &OwnArgs, source: &Source) -> anyhow::Result<Self> {
        if source.test.is_some() {
            return Ok(Self::File);
        }
        if let Some(horizon) = args.horizon {
            ensure!(horizon.is_finite(), "--horizon {horizon}: give a time");
            return Ok(Self::Horizon(horizon));
        }
        let share = match args.split.unwrap_or(Split::Share(SHARE)) {
            Split::Share(share) => share,
            Split::Published => bail!("--split published: is of --task physionet; give a share between 0 and 1"),
        };
        ensure!(share > 0.0 && share < 1.0, "--split {share}: give a share between 0 and 1, such as {SHARE}");
        Ok(Self::Share { share, seed: args.split_seed.unwrap_or(0) })
    }
}

impl Source {
    /// What the command line names.
    pub(crate) fn named(data: Option<&Path>, test: Option<&Path>) -> Self {
        let [data, test] = [data, test].map(|path| path.map(Path::to_owned));
        Self { data, test, cache: None }
    }

    /// What the command line names, or else what a run was made with.
    pub(crate) fn or(self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        let or = |now: Option<PathBuf>, before: &Option<PathBuf>| now.or_else(|| before.clone());
        Self {
            data: or(self.data, &before.data),
            test: or(self.test, &before.test),
            cache: or(self.cache, &before.cache),
        }
    }

    /// The file of the data, or the one of a task's name in the folder of the data.
    pub(super) fn file_named(&self, NamedFile { task, name }: &NamedFile) -> anyhow::Result<PathBuf> {
        let path = self.data.as_deref();
        let path =
            path.with_context(|| format!("{task} needs its data: give --data DIR, a folder that holds {name}"))?;
        let places = [path.to_owned(), path.join(name), path.join(task).join(name)];
        let found = places.into_iter().find(|place| place.exists() && !place.is_dir());
        found.with_context(|| {
            format!("--data {}: holds no {name}; {task} takes that file, or its folder", path.display())
        })
    }

    /// The file of the data.
    pub(super) fn file(&self, task: &str) -> anyhow::Result<&Path> {
        let path = self.data.as_deref();
        let path =
            path.with_context(|| format!("{task} needs its data: give --data FILE, a table with column names"))?;
        if path.is_dir() {
            bail!("--data {}: is a folder; {task} takes the file of a table", path.display());
        }
        Ok(path)
    }
}
