//! A transfer that ends badly leaves nothing, even when our own code breaks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail where it stands"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use audio_extract_core::error::ErrorCode;
use audio_extract_core::request::TransferRequest;
use audio_extract_core::transfer::{Hooks, transfer};

/// Says its version, gives some bytes and never ends.
const SLOW: &str = "#!/bin/sh
[ \"$1\" = -version ] && exec echo ffmpeg version 5.1
head -c 5000000 /dev/zero
exec sleep 60
";

fn ffmpeg() -> String {
    std::env::var("AUDIO_EXTRACT_TEST_FFMPEG").unwrap_or_else(|_| "ffmpeg".to_owned())
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("audio-extract-transfer-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(path.join("out")).unwrap();
    path
}

fn recording(folder: &Path) -> String {
    let path = folder.join("meeting.mp4");
    let made = Command::new(ffmpeg())
        .args(["-v", "error", "-f", "lavfi", "-i", "sine=440:duration=3", "-c:a", "aac"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    path.to_str().unwrap().to_owned()
}

fn request(folder: &Path, codec: &str) -> TransferRequest {
    serde_json::from_value(serde_json::json!({
        "source": {"kind": "file", "path": recording(folder)},
        "sink": {"kind": "file", "path": folder.join("out/audio")},
        "audio": {"codec": codec},
        "ffmpeg": {"path": ffmpeg()},
    }))
    .unwrap()
}

fn left(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("out")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_before_the_commit_leaves_no_file() {
    for codec in ["mp3", "copy"] {
        let folder = folder(&format!("panic-{codec}"));
        let hooks = Hooks { before_commit: Some(Arc::new(|| panic!("on purpose"))), ..Hooks::default() };
        let error = transfer(request(&folder, codec), hooks).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Bug);
        assert_eq!(left(&folder), [""; 0]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_dropped_leaves_no_file() {
    let folder = folder("dropped");
    let mut request = request(&folder, "wav");
    // A child that never ends.
    request.ffmpeg.path = folder.join("slow").to_str().unwrap().to_owned();
    std::fs::write(&request.ffmpeg.path, SLOW).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&request.ffmpeg.path, mode).unwrap();
    let running = tokio::spawn(transfer(request, Hooks::default()));
    let part = |name: &String| {
        let path = Path::new(name);
        path.extension().is_some_and(|extension| extension == "part")
    };
    for _ in 0..500 {
        if left(&folder).iter().any(part) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(left(&folder).iter().any(part), "the temporary file never appeared");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    for _ in 0..200 {
        if left(&folder).is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(left(&folder), [""; 0]);
    std::fs::remove_dir_all(folder).unwrap();
}
