//! Examines what only the process can say that has the stores open.

use std::fmt;

use nix::sys::resource::{Resource, getrlimit};

use crate::catalog::Catalog;
use crate::error_chain::error_chain;
use crate::media::MediaStore;

/// What a remark says about a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The part works.
    Ok,
    /// It works, and could work better.
    Advice,
    /// It does not work.
    Problem,
}

/// What was found out about a part, and what to do. It is written as two words that never change, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    /// How bad it is.
    pub level: Level,
    /// One word.
    pub part: &'static str,
    /// The sentence.
    pub about: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Advice => "advice",
            Level::Problem => "problem",
        };
        write!(f, "{level} {} {}", self.part, self.about)
    }
}

/// Asks both stores whether an upload could be recorded now, and looks at the limit of open files. `connections` is that of
/// the settings.
pub(crate) async fn examine(
    catalog: &dyn Catalog,
    photos: &dyn MediaStore,
    connections: usize,
) -> Vec<Remark> {
    let catalog = match catalog.check().await {
        Ok(()) => remark(Level::Ok, "catalog", "a draft could be recorded now"),
        Err(error) => {
            remark(Level::Problem, "catalog", &format!("no draft can be recorded: {}", error_chain(&error)))
        }
    };
    let photos = match photos.check().await {
        Ok(()) => remark(Level::Ok, "photos", "a photo could be stored now"),
        Err(error) => {
            remark(Level::Problem, "photos", &format!("no photo can be stored: {}", error_chain(&error)))
        }
    };
    vec![catalog, photos, open_files(connections)]
}

fn open_files(connections: usize) -> Remark {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return remark(Level::Problem, "descriptors", "the limit of open files cannot be read");
    };
    let allowed = crate::server::descriptors::connections_for(hard);
    let about = format!("the limit of open files is {hard}, which allows {allowed} connections");
    if allowed >= connections as u64 {
        return remark(Level::Ok, "descriptors", &about);
    }
    let what =
        format!("{about}, and MAX_CONNECTIONS is {connections}: raise LimitNOFILE in the unit, or ulimit -n");
    remark(Level::Advice, "descriptors", &what)
}

/// Makes a remark.
pub(crate) fn remark(level: Level, part: &'static str, about: &str) -> Remark {
    Remark { level, part, about: about.to_owned() }
}
