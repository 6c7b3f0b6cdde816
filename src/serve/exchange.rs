//! What the admin API asks of the rest of the exchange.

use lamchat_accounts::device::RemovedDevice;
use lamchat_api_client::App;
use lamchat_base::UserNum;
use lamchat_http::BoxFuture;
use lamchat_rooms::{Caller, Membership, membership, room};
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
            let caller = Caller {
                user,
                user_id,
                device: None,
            };
            let rooms = membership::rooms_of(&app.store.read(), user).map_err(|error| error.to_string())?;
            for (num, member) in rooms {
                if !matches!(
                    member.membership,
                    Membership::Join | Membership::Invite | Membership::Knock
                ) {
                    continue;
                }
                let room = room::by_num(&app.store.read(), num).map_err(|error| error.to_string())?;
                // What cannot be left keeps nobody from being deactivated.
                if let Err(error) = app.rooms.leave(&caller, &room.id, None).await {
                    tracing::warn!(%error, "a room could not be left when an account was deactivated");
                }
            }
            app.presence.forget(user);
            Ok(())
        })
    }
}
