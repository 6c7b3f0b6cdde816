//! After the file slot was removed: the start that puts everything under the new keys, before anything is served.

use super::{StartError, holder, refused};
use lamchat_seal::DataKeys;
use lamchat_store::{Options, RekeyError};
use std::sync::Arc;
use std::time::Instant;

/// Encrypts secrets and database anew where there are keys of before, and has the holder forget these. Answers how to
/// open the database: under its former key if the disk has no room for a second copy, which the log says.
pub async fn under_new_keys(
    options: Options,
    keys: &Arc<DataKeys>,
    holder: &holder::Link,
) -> Result<Options, StartError> {
    let former = keys.former_database_keys();
    if former.is_empty() && !keys.has_former_secrets() {
        return Ok(options);
    }
    keys.reseal_secrets().map_err(refused)?;
    let began = Instant::now();
    let done = tokio::task::spawn_blocking(move || {
        let done = if former.is_empty() {
            Ok(false)
        } else {
            lamchat_store::rekey(&options, &former)
        };
        (options, former, done)
    });
    let (options, former, done) = done.await.map_err(refused)?;
    match done {
        Ok(_) => {
            holder.ask(|client| client.forget_former()).await.map_err(refused)?;
            let milliseconds = began.elapsed().as_millis();
            tracing::info!(
                milliseconds,
                "everything is encrypted anew, and the former keys are forgotten"
            );
            Ok(options)
        }
        Err(error @ RekeyError::NoRoom { .. }) => {
            tracing::error!(%error, "the database stays under its former key until there is room and the server starts again");
            let fits = lamchat_store::key_of(&options.dir, &former).map_err(refused)?;
            let key = fits.ok_or_else(|| refused(RekeyError::Foreign))?;
            Ok(Options { key, ..options })
        }
        Err(error) => Err(refused(error)),
    }
}
