//! Access tokens from the caller, asked for by one request at a time and refreshed before they expire.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;

use crate::error::{EngineError, ErrorCode, Result};

/// Asks the caller for a token; may block. Gives the token and its expiry in Unix seconds, UTC.
///
/// An error is returned as it is, so that the caller sees its own failure again.
pub type TokenCallback = dyn Fn() -> Result<(String, f64)> + Send + Sync;

/// A token this close to its expiry is refreshed first.
const MARGIN: Duration = Duration::from_secs(60);

/// Holds the newest token of one service.
pub struct TokenProvider {
    callback: Arc<TokenCallback>,
    current: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    secret: Arc<str>,
    expires_unix_seconds: f64,
    generation: u64,
}

/// A token and which one it is, so that a refusal can be told from a refusal of an older one.
#[derive(Clone)]
pub struct Access {
    secret: Arc<str>,
    generation: u64,
}

impl Access {
    /// The value of the `Authorization` header. Never log it.
    #[must_use]
    pub fn bearer(&self) -> &str {
        &self.secret
    }
}

impl std::fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenProvider(***)")
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access(***)")
    }
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl TokenProvider {
    /// A provider over the caller's callback.
    #[must_use]
    pub fn new(callback: Arc<TokenCallback>) -> Self {
        Self { callback, current: Mutex::default() }
    }

    /// The current token, refreshed when it is about to expire.
    ///
    /// # Errors
    /// What the callback returned.
    pub async fn access(&self) -> Result<Access> {
        self.access_after(None).await
    }

    /// A token newer than the `refused` one. Requests that were refused together refresh once.
    ///
    /// # Errors
    /// What the callback returned.
    pub async fn access_after(&self, refused: Option<&Access>) -> Result<Access> {
        // Holding the lock while asking makes this single-flight.
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref() {
            let fresh = token.expires_unix_seconds - unix_now() > MARGIN.as_secs_f64();
            let newer = refused.is_none_or(|access| token.generation > access.generation);
            if newer && (fresh || refused.is_some()) {
                return Ok(Access { secret: Arc::clone(&token.secret), generation: token.generation });
            }
        }
        let callback = Arc::clone(&self.callback);
        let (secret, expires_unix_seconds) =
            tokio::task::spawn_blocking(move || callback()).await.map_err(|error| {
                EngineError::new(ErrorCode::Bug, "asking for an access token panicked").caused_by(error)
            })??;
        let generation = current.as_ref().map_or(1, |token| token.generation + 1);
        let token = Token { secret: format!("Bearer {secret}").into(), expires_unix_seconds, generation };
        let access = Access { secret: Arc::clone(&token.secret), generation };
        *current = Some(token);
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn counting(lifetime: f64) -> (Arc<AtomicU32>, TokenProvider) {
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&calls);
        let provider = TokenProvider::new(Arc::new(move || {
            let n = seen.fetch_add(1, Ordering::Relaxed);
            Ok((format!("t{n}"), unix_now() + lifetime))
        }));
        (calls, provider)
    }

    #[tokio::test]
    async fn a_fresh_token_is_asked_for_once() {
        let (calls, provider) = counting(3600.0);
        let (a, b) = tokio::join!(provider.access(), provider.access());
        assert_eq!(a.unwrap().bearer(), "Bearer t0");
        assert_eq!(b.unwrap().bearer(), "Bearer t0");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_token_about_to_expire_is_refreshed_first() {
        let (calls, provider) = counting(30.0);
        provider.access().await.unwrap();
        provider.access().await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn requests_refused_together_refresh_once() {
        let (calls, provider) = counting(3600.0);
        let refused = provider.access().await.unwrap();
        let (a, b) =
            tokio::join!(provider.access_after(Some(&refused)), provider.access_after(Some(&refused)));
        assert_eq!(a.unwrap().bearer(), "Bearer t1");
        assert_eq!(b.unwrap().bearer(), "Bearer t1");
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
