//! What the admin API asks of the rest of the exchange.

use lamchat_accounts::device::RemovedDevice;
use lamchat_api_client::App;
use lamchat_base::UserNum;
use lamchat_http::BoxFuture;
use lamchat_store::{ReadError, WriteTxn};
use ruma::OwnedUserId;
use std::sync::Arc;

/// The exchange, wired.
pub struct Wired {
    pub app: Arc<App>,
}

impl lamchat_api_admin::Exchange for Wired {
    fn forget_devices(
        &self,
        txn: &mut WriteTxn<'_>,
        user: UserNum,
        removed: &[RemovedDevice],
    ) -> Result<(), ReadError> {
        lamchat_api_client::device::forget(txn, user, removed)
    }

    fn pending_registrations(&self, token: &str) -> u32 {
        self.app.uia.pending(token, self.app.now_ms())
    }

    fn leave_rooms(&self, user: UserNum, user_id: OwnedUserId) -> BoxFuture<Result<(), String>> {
        let app = Arc::clone(&self.app);
        Box::pin(async move {
            // The reason is in the log already if it is an inner one.
            lamchat_api_client::account::withdraw(&app, user, user_id)
                .await
                .map_err(|error| error.message.into_owned())
        })
    }
}
