//! Real recordings made with FFmpeg, a reader that counts, and the assembly of an audio-only file.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::cast_possible_truncation, reason = "test files are small")]
#![allow(clippy::trivially_copy_pass_by_ref, reason = "byte strings are references")]

pub(crate) mod synthetic;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use audio_extract_core::error::{EngineError, ErrorCode, Result};
use audio_extract_core::mp4::{AudioPlan, HeaderPieces, Indexed, Movie, RangeReader, index};
use bytes::Bytes;

/// The FFmpeg that the tests use; there is no test without it.
pub(crate) fn ffmpeg_path() -> PathBuf {
    std::env::var_os("AUDIO_EXTRACT_TEST_FFMPEG").map_or_else(|| "ffmpeg".into(), PathBuf::from)
}

/// Runs FFmpeg and returns its standard output.
pub(crate) fn ffmpeg(arguments: &[&str], stdin: Option<&Path>) -> Vec<u8> {
    let stdin = stdin.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
    let output = Command::new(ffmpeg_path())
        .args(["-hide_banner", "-nostdin", "-y", "-loglevel", "error"])
        .args(arguments)
        .stdin(stdin)
        .output()
        .unwrap_or_else(|error| panic!("FFmpeg is needed ({}): {error}", ffmpeg_path().display()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {arguments:?} failed: {stderr}");
    output.stdout
}

/// The major version of that FFmpeg; `None` for one that was built between releases.
pub(crate) fn ffmpeg_major() -> Option<u32> {
    let output = Command::new(ffmpeg_path()).arg("-version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let version = text.strip_prefix("ffmpeg version ").unwrap().trim_start_matches('n');
    version.split('.').next().unwrap().parse().ok()
}

/// A folder that goes away with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("audio-extract-mp4-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A recording of some seconds: moving picture and, with `arguments`, whatever audio.
    pub(crate) fn recording(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut all = vec!["-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SOUND];
        all.extend(arguments);
        let text = path.to_str().unwrap();
        all.extend(["-t", "6", "-c:v", "mpeg4", "-g", "15", text]);
        ffmpeg(&all, None);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // After a failure the files are worth a look.
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

const PICTURE: &str = "testsrc2=size=192x108:rate=15:duration=8";
const SOUND: &str = "aevalsrc='0.3*sin(2*PI*(200+80*t)*t)|0.3*sin(2*PI*333*t)*sin(2*t)':s=48000:d=8";

/// Reads a file, and remembers each read.
pub(crate) struct FileReader {
    file: File,
    size: Option<u64>,
    pub(crate) reads: Mutex<Vec<(u64, u64)>>,
}

impl FileReader {
    pub(crate) fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let size = Some(file.metadata().unwrap().len());
        Self { file, size, reads: Mutex::default() }
    }

    pub(crate) fn of_unknown_size(path: &Path) -> Self {
        Self { size: None, ..Self::open(path) }
    }

    pub(crate) fn bytes(&self, offset: u64, len: u64) -> Bytes {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = self.file.read_at(&mut bytes[filled..], offset + filled as u64).unwrap();
            if read == 0 {
                break;
            }
            filled += read;
        }
        bytes.truncate(filled);
        bytes.into()
    }
}

impl RangeReader for FileReader {
    async fn read_range(&self, offset: u64, len: u64) -> Result<Bytes> {
        if len == 0 || self.size.is_some_and(|size| offset + len > size) {
            return Err(EngineError::new(ErrorCode::Bug, format!("a read of {len} bytes at {offset}")));
        }
        self.reads.lock().unwrap().push((offset, len));
        Ok(self.bytes(offset, len))
    }

    fn size(&self) -> Option<u64> {
        self.size
    }
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn movie(path: &Path) -> Movie {
    match run(index(&FileReader::open(path))).unwrap() {
        Indexed::Movie(movie) => movie,
        other @ Indexed::Other { .. } => panic!("{} is no movie: {other:?}", path.display()),
    }
}

/// Writes header and audio, fetched in ranges of that kind, and checks every promised length.
pub(crate) fn assemble(source: &Path, plan: &AudioPlan, header: HeaderPieces, gap: u64, max: u64, to: &Path) {
    let reader = FileReader::open(source);
    let promised = (header.byte_len(), header.file_len());
    let mut file = Vec::new();
    header.for_each(|piece| file.extend_from_slice(&piece));
    assert_eq!(file.len() as u64, promised.0, "header length");
    let mut picker = plan.picker();
    let mut out = Vec::new();
    for (offset, len) in plan.fetch_ranges(gap, max) {
        picker.push(offset, &reader.bytes(offset, len), &mut out).unwrap();
        out.drain(..).for_each(|piece| file.extend_from_slice(&piece));
    }
    assert_eq!(picker.picked_bytes(), plan.audio_bytes());
    if let Some(rest) = picker.finish().unwrap() {
        file.extend_from_slice(&rest);
    }
    assert_eq!(file.len() as u64, promised.1, "file length");
    std::fs::write(to, file).unwrap();
}

/// FFmpeg's own MD5 of the decoded audio.
pub(crate) fn decoded_md5(file: &Path, track: usize) -> String {
    let map = format!("0:a:{track}");
    let text = file.to_str().unwrap();
    String::from_utf8(ffmpeg(&["-i", text, "-map", &map, "-f", "md5", "-"], None)).unwrap()
}

/// The same from a pipe, as the engine feeds it.
pub(crate) fn piped_md5(file: &Path) -> String {
    String::from_utf8(ffmpeg(&["-i", "pipe:0", "-map", "0:a:0", "-f", "md5", "-"], Some(file))).unwrap()
}

/// Samples per channel that FFmpeg decodes.
pub(crate) fn decoded_samples(file: &Path, track: usize) -> u64 {
    let map = format!("0:a:{track}");
    let text = file.to_str().unwrap();
    ffmpeg(&["-i", text, "-map", &map, "-ac", "1", "-c:a", "pcm_s16le", "-f", "s16le", "-"], None).len()
        as u64
        / 2
}

/// What `ffprobe`-like output of FFmpeg says about a file.
pub(crate) fn described(file: &Path) -> String {
    let output =
        Command::new(ffmpeg_path()).args(["-hide_banner", "-i", file.to_str().unwrap()]).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
