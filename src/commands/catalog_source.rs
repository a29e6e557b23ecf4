//! The rows of the catalog: from the server that has it open, or from the catalog itself.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use super::report::{say, with_causes};
use crate::backup::{self, Assembler, Counts, Rows, Summary};
use crate::catalog::Restorable;
use crate::config::Settings;
use crate::control::{self, Client, Received, Request};
use crate::model::MediaId;
use crate::stores::{self, Mode, OpenError};

/// Where the rows come from.
pub(super) enum CatalogSource {
    /// A server has the embedded catalog open.
    Server(Client),
    /// No server has it open, or it is on PostgreSQL.
    Catalog(Arc<dyn Restorable>),
}

impl CatalogSource {
    /// Asks the server, or opens the catalog if no server has it open.
    pub(super) async fn open(settings: &Settings, request: Request) -> Result<Self, String> {
        match Self::ask(settings, request).await? {
            Some(server) => Ok(Self::Server(server)),
            None => Ok(Self::Catalog(open_alone(settings).await?)),
        }
    }

    /// Asks the server that has the embedded catalog open, if there is one.
    pub(super) async fn ask(settings: &Settings, request: Request) -> Result<Option<Client>, String> {
        match settings.database.directory() {
            Some(path) => Client::ask(path, request).await.map_err(with_causes),
            None => Ok(None),
        }
    }

    /// Writes an export to `out`. `spool` is an empty file. Returns the source too, because a server keeps the photos of a backup
    /// as long as it exists.
    pub(super) async fn export(self, spool: File, out: impl Write) -> Result<(Counts, Self), String> {
        match self {
            Self::Catalog(catalog) => {
                let counts = backup::export(Rows::of(&*catalog), spool, out).await.map_err(with_causes)?;
                Ok((counts, Self::Catalog(catalog)))
            }
            Self::Server(mut server) => {
                let mut assembler = Assembler::new(spool, out);
                loop {
                    match server.receive().await.map_err(with_causes)? {
                        Received::Line(line) => assembler.add_bytes(line).map_err(with_causes)?,
                        Received::Done => break,
                        Received::Say(_) | Received::Checked(_) => {
                            return Err("the server answered another command".to_owned());
                        }
                    }
                }
                Ok((assembler.end().map_err(with_causes)?, Self::Server(server)))
            }
        }
    }

    /// Returns whether the catalog still has a media row. A server removes none during a backup.
    pub(super) async fn has_media(&self, id: MediaId) -> Result<bool, backup::BackupError> {
        match self {
            Self::Server(_) => Ok(true),
            Self::Catalog(catalog) => Ok(catalog.media(id).await?.is_some()),
        }
    }
}

/// Opens the catalog. If another process has it open, the error says why that one was not asked.
pub(super) async fn open_alone(settings: &Settings) -> Result<Arc<dyn Restorable>, String> {
    match stores::open_catalog(settings, Mode::Existing).await {
        Ok(catalog) => Ok(catalog),
        Err(error @ OpenError::InUse(_)) => {
            Err(match settings.database.directory().and_then(control::advice) {
                Some(advice) => format!("{error}. Without a stop: {advice}"),
                None => error.to_string(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints what a check of the server finds, as it comes. Returns its summary.
pub(super) async fn checked(mut server: Client) -> Result<Summary, String> {
    loop {
        match server.receive().await.map_err(with_causes)? {
            Received::Say(line) => say(&line),
            Received::Checked(summary) => return Ok(summary),
            Received::Line(_) | Received::Done => {
                return Err("the server answered another command".to_owned());
            }
        }
    }
}
