//! The state store in one file, for one coordinator. Only this file knows redb.

use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::{StateStore, StoreError, Version, Write};

const TABLE: TableDefinition<&str, (Version, &[u8])> = TableDefinition::new("state");

pub struct EmbeddedStore {
    database: Database,
}

impl EmbeddedStore {
    /// Opens the store, and makes it when there is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.display().to_string()),
            other => StoreError::Failed(format!("{}: {other}", path.display())),
        })?;
        let transaction = database.begin_write().map_err(failed)?;
        transaction.open_table(TABLE).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Self { database })
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

impl StateStore for EmbeddedStore {
    fn write(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(TABLE).map_err(failed)?;
            for write in writes {
                let found = table.get(&*write.key).map_err(failed)?.map(|entry| entry.value().0);
                if found != write.expected {
                    // Dropping the transaction undoes what it has written.
                    return Err(StoreError::Conflict(write.key.clone()));
                }
                let version = found.unwrap_or(0) + 1;
                table.insert(&*write.key, (version, &write.value[..])).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(TABLE).map_err(failed)?;
        let entry = table.get(key).map_err(failed)?;
        Ok(entry.map(|entry| {
            let (version, value) = entry.value();
            (value.to_vec(), version)
        }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>, Version)>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(TABLE).map_err(failed)?;
        let mut found = Vec::new();
        for entry in table.range(prefix..).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let (version, bytes) = value.value();
            found.push((key.value().to_owned(), bytes.to_vec(), version));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        conformance(&mut EmbeddedStore::open(&folder.path().join("state.redb")).expect("opens"));
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let write = Write { key: "a".into(), value: b"1".to_vec(), expected: None };
        EmbeddedStore::open(&path).expect("opens").write(&[write]).expect("writes");
        let store = EmbeddedStore::open(&path).expect("opens");
        assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));
    }

    #[test]
    fn a_second_coordinator_is_kept_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let _first = EmbeddedStore::open(&path).expect("opens");
        assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::InUse(_))));
    }
}
