"""Switches one safeguard of the engine off at a time and shows that the tests notice: ``make mutants``.

Each mutant is one replacement in a Rust source. The tree is copied, built and tested outside the checkout; a
mutant that no test kills fails the run, and so does a replacement whose text is no longer there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/integration/test_engine_faults.py", "tests/integration/test_engine_ffmpeg_faults.py")


@dataclass(frozen=True)
class Mutant:
    """One safeguard, and the edit that switches it off."""

    name: str
    file: str
    pattern: str
    replacement: str
    #: Tests of the Rust core that must notice, as for `cargo test`; without it the Python tests of faults.
    rust_tests: tuple[str, ...] = ()


MUTANTS = (
    Mutant(
        "ifGenerationMatch is not sent",
        "rust/core/src/sink/gcs/session.rs",
        r"if let Some\(generation\) = spec\.if_generation_match \{",
        "if let Some(generation) = spec.if_generation_match.filter(|_| false) {",
    ),
    Mutant(
        "CRC32C is not sent with the last chunk, nor compared with the answer",
        "rust/core/src/sink/gcs/session.rs",
        r'"x-goog-hash"|if size == last\.total && crc32c == want',
        "CRC",
    ),
    Mutant(
        "Content-Range of an answer is not compared with what was asked for",
        "rust/core/src/source/http.rs",
        r"if first != at \|\| last\.checked_add\(1\) != Some\(want_end\)",
        "if false && last == 0",
    ),
    Mutant(
        "the size of a recording may change between ranges",
        "rust/core/src/source/http.rs",
        r"Some\(known\) if known != total =>",
        "Some(known) if known != total && known == 1 =>",
    ),
    Mutant(
        "the source's MD5 is not compared",
        "rust/core/src/checksum.rs",
        r"if got != want \{",
        "if got != want && want.is_empty() {",
    ),
    Mutant(
        "after a lost answer the next chunk is sent without asking",
        "rust/core/src/sink/gcs/session.rs",
        r"self\.ask\(&session, last, &mut backoff\)\.await\?",
        "Standing::Open { persisted: chunk.end() }",
    ),
    Mutant(
        "a chunk kept in part counts as kept",
        "rust/core/src/sink/gcs/session.rs",
        r"Some\(Some\(persisted\)\) => Ok\(Standing::Open \{ persisted \}\)",
        "Some(Some(persisted)) => Ok(Standing::Open { persisted: persisted.div_ceil(262_144) * 262_144 })",
    ),
    Mutant(
        "a body that ends early counts as complete",
        "rust/core/src/source/http.rs",
        r"Some\(end\) if \*at < end => Err",
        "Some(end) if *at < end && end == 1 => Err",
    ),
    Mutant(
        "a long request is not paid for",
        "rust/core/src/source/mod.rs",
        r"Self::Metered\(budget\) => Some\(budget\.acquire\(PIECE_BYTES as u64\)\.await\),",
        "Self::Metered(_) => None,",
        rust_tests=("--lib", "source::laws"),
    ),
    Mutant(
        "ranges side by side are paid for when their bytes come",
        "rust/core/src/source/fetch.rs",
        r"Some\(len\) if len <= prepaid_bytes =>",
        "Some(len) if len == 0 =>",
        rust_tests=("--lib", "source::laws"),
    ),
    Mutant(
        "a range that failed looks finished before its error is seen",
        "rust/core/src/source/fetch.rs",
        r"result\.map_err\(\|error\| \(error, out\)\)",
        "result.map_err(|error| { drop(out); (error, mpsc::unbounded_channel().0) })",
        rust_tests=("--lib", "source::laws"),
    ),
    Mutant(
        "what a request brought before it was given up is lost",
        "rust/core/src/source/http.rs",
        r"\(\) = outlet\.pulled\(\) => \{\s+outlet\.flush\(\);",
        "() = outlet.pulled() => {",
        rust_tests=("--lib", "source::laws"),
    ),
    Mutant(
        "an upload session is left open after a failure",
        "rust/core/src/sink/gcs/session.rs",
        r"let Some\(session\) = self\.session\.lock\(\)\.await\.take\(\) else \{ return \};",
        "let Some(session) = self.session.lock().await.take().filter(|_| false) else { return };",
    ),
    Mutant(
        "a failed FFmpeg counts as done",
        "rust/core/src/transfer/encode.rs",
        r"ffmpeg::judge\(status, &said, name, track\)\?;",
        "let _ = ffmpeg::judge(status, &said, name, track);",
    ),
    Mutant(
        "the joints of several encoders are not compared",
        "rust/core/src/transfer/parallel.rs",
        r"Some\(Part::Before\(frames\)\) if frames != before",
        "Some(Part::Before(frames)) if frames != before && frames.is_empty()",
        rust_tests=("--test", "segments"),
    ),
    Mutant(
        "several encoders may have seen recordings of different lengths",
        "rust/core/src/transfer/encode.rs",
        r"if left_over \|\| !out\.holds_all\(total\)",
        "if left_over",
        rust_tests=("--test", "segments"),
    ),
    Mutant(
        "an encoder has too little pre-roll",
        "rust/core/src/extract/segments.rs",
        r"const PRE_ROLL: u64 = 145;",
        "const PRE_ROLL: u64 = 47;",
        rust_tests=("--test", "segments"),
    ),
)


def main() -> int:
    """Run every mutant and print a line for each."""
    survivors = []
    with tempfile.TemporaryDirectory(prefix="audio-extract-mutants-") as folder:
        tree = Path(folder, "tree")
        ignored = shutil.ignore_patterns("target", ".venv", ".git", "__pycache__", "*.so", "results")
        shutil.copytree(ROOT, tree, ignore=ignored)
        for mutant in MUTANTS:
            killed = _kill(mutant, tree)
            print(
                f"{'killed' if killed else 'SURVIVED'}: {mutant.name}" + (f" ({killed})" if killed else ""),
                flush=True,
            )
            if not killed:
                survivors.append(mutant.name)
    print(f"{len(MUTANTS) - len(survivors)} passed, {len(survivors)} failed")
    return 1 if survivors else 0


def _edit(mutant: Mutant, found: str) -> str:
    # Switching the checksum off takes two edits: the header gets another name, the comparison loses a half.
    if mutant.replacement == "CRC":
        return '"x-not-a-hash"' if "hash" in found else "if size == last.total"
    return mutant.replacement


def _kill(mutant: Mutant, tree: Path) -> str | None:
    """Build and test one mutant; the test runner's last line when it failed, None when all tests passed."""
    source = tree / mutant.file
    original = source.read_text()
    changed, count = re.subn(mutant.pattern, lambda found: _edit(mutant, found[0]), original)
    if count == 0:
        raise SystemExit(f"{mutant.file} no longer holds the text of '{mutant.name}'")
    source.write_text(changed)
    try:
        target = Path(os.environ.get("CARGO_TARGET_DIR", tree / "target"))
        build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "audio-extract-python"]
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "RUSTFLAGS": "-Awarnings"}
        subprocess.run(build, cwd=tree, env=environment, check=True)
        shutil.copy(target / "release" / "lib_engine.so", tree / "python/audio_extract/_engine.abi3.so")
        tests = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", *TESTS]
        if mutant.rust_tests:
            package = ["-p", "audio-extract-core", *mutant.rust_tests]
            tests = ["cargo", "test", "--release", "--locked", *package]
        tested = subprocess.run(
            tests,
            cwd=tree,
            env={**environment, "PYTHONPATH": str(tree / "python")},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        source.write_text(original)
    if tested.returncode == 0:
        return None
    # pytest: FAILED file::name - …; cargo: test name ... FAILED
    failed = re.search(r"^FAILED \S*::(\S+)|^test (\S+) \.\.\. FAILED", tested.stdout, re.MULTILINE)
    return next(name for name in failed.groups() if name) if failed else "no report"


if __name__ == "__main__":
    raise SystemExit(main())
