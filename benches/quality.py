"""What each encoder setting costs and how it sounds: the figures behind ``quality`` in docs/decisions.md.

    uv run --no-project --with zimtohrli --with 'visqol-python[accel,lattice]' benches/quality.py --root DIR

Zimtohrli (48 kHz, the mean of the channels) and ViSQOL (speech at 16 kHz with the lattice model, music at
48 kHz) compare what FFmpeg's encoders made with what they were given; both packages carry their models. CPU
is user and system time of FFmpeg, on 8 s of all clips one after the other, the settings in turn; the median
is scaled to ten minutes.

Needs ``ffmpeg``, ``espeak-ng`` and, unpacked below DIR (``/`` where they are installed), the Debian
packages of `PACKAGES`: ``apt-get download`` and ``dpkg-deb -x FILE DIR`` do. Nothing is downloaded here.
Three of the voices are synthetic, and most of what was recorded was Vorbis or MP3 before: it is the
reference all the same, as a meeting's AAC is for us.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import signal  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    """One row a channel."""

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "alsa-utils extremetuxracer-data fillets-ng-data-cs fillets-ng-data-nl pocketsphinx-testdata xmoto-data"
)
SECONDS = 12
"""The length of a clip."""


@dataclass(frozen=True)
class Clip:
    """A piece of sound: files one after the other, or a text for espeak-ng."""

    name: str
    kind: Literal["speech", "music"]
    files: tuple[str, ...] = ()
    start: float = 0
    voice: str = ""
    text: str = ""
    noise: float = 0
    """The amplitude of pink noise behind the voice."""


@dataclass(frozen=True)
class Shape:
    """What an encoder is given."""

    rate: int
    channels: int


@dataclass(frozen=True)
class Setting:
    """An encoder and its arguments, as the engine passes them."""

    codec: str
    shape: Shape
    label: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """How one clip sounds in one setting."""

    setting: str
    clip: str
    kind: str
    bytes: int
    zimtohrli: float
    visqol: float


FISH = "usr/share/games/fillets-ng/sound"
RACER = "usr/share/games/etr/music"
MOTO = "usr/share/games/xmoto/Textures/Musics"
BOOK = "usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb"
SIDES = ("Front_Left", "Front_Center", "Front_Right", "Side_Left", "Side_Right", "Rear_Left", "Rear_Center")
CLIPS = (
    Clip("recorded English woman", "speech", tuple(f"usr/share/sounds/alsa/{side}.wav" for side in SIDES)),
    Clip("recorded English book", "speech", (f"{BOOK}-0870.wav", f"{BOOK}-0920.wav")),
    Clip(
        "recorded Czech woman",
        "speech",
        (f"{FISH}/hanoi/cs/m-rekurzivni.ogg", f"{FISH}/hanoi/cs/m-restartuj.ogg"),
    ),
    Clip("recorded Dutch man", "speech", (f"{FISH}/computer/nl/poc-v-vyresil.ogg",)),
    Clip(
        "recorded Czech man, fan",
        "speech",
        (f"{FISH}/rush/cs/v-upozornit.ogg", f"{FISH}/hanoi/cs/v-kopie.ogg"),
        noise=0.05,
    ),
    Clip(
        "synthetic English man",
        "speech",
        voice="en-us+m3",
        text="Good morning everybody, and thank you for coming. Let us begin with the figures of the last "
        "quarter: six thousand four hundred orders, which is seven per cent more than in spring. Are "
        "there any questions?",
    ),
    Clip(
        "synthetic German woman",
        "speech",
        voice="de+f2",
        text="Guten Morgen zusammen. Zuerst sprechen wir über die Ergebnisse des letzten Quartals, danach "
        "über den Zeitplan für das nächste Jahr. Bitte schalten Sie Ihr Mikrofon aus, solange Sie "
        "nicht sprechen.",
    ),
    Clip(
        "synthetic Hungarian woman",
        "speech",
        voice="hu+f4",
        text="Jó reggelt kívánok mindenkinek. Először az elmúlt negyedév eredményeiről beszélünk, azután a"
        " jövő évi ütemtervről. Kérem, hogy kapcsolják ki a mikrofont, amíg nem beszélnek.",
    ),
    Clip("calm race", "music", (f"{RACER}/calmrace-ks.ogg",), start=30),
    Clip("credits", "music", (f"{RACER}/credits1-cp.ogg",), start=20),
    Clip("freezing point", "music", (f"{RACER}/freezingpoint.ogg",), start=40),
    Clip("bat cave", "music", (f"{MOTO}/batcave.ogg",), start=60),
    Clip("Madeira stew", "music", (f"{MOTO}/MadeiraStew.ogg",), start=20),
    Clip("ride along", "music", (f"{MOTO}/ridealong.ogg",), start=30),
)


def settings() -> list[Setting]:
    """Everything that is compared."""
    found: list[Setting] = []
    for shape, bitrate in ((Shape(48_000, 2), "128k"), (Shape(44_100, 1), "64k"), (Shape(44_100, 1), "128k")):
        mp3 = ("-c:a", "libmp3lame", "-b:a", bitrate)
        found.append(Setting("mp3", shape, f"{bitrate} FFmpeg's default, with reservoir", mp3))
        found += [
            Setting(
                "mp3",
                shape,
                f"{bitrate} level {level}",
                (*mp3, "-reservoir", "0", "-compression_level", str(level)),
            )
            for level in (0, 2, 3, 5, 7, 9)
        ]
    for channels, bitrate, (use, level) in itertools.product(
        (1, 2), ("24k", "32k", "64k"), (("audio", 0), ("audio", 5), ("audio", 10), ("voip", 10))
    ):
        opus = ("-c:a", "libopus", "-b:a", bitrate, "-application", use, "-compression_level", str(level))
        found.append(Setting("opus", Shape(48_000, channels), f"{bitrate} {use} level {level}", opus))
    for (channels, bitrate), coder, noise in itertools.product(
        ((1, "64k"), (2, "128k")), ("fast", "twoloop"), ("1", "0")
    ):
        aac = ("-c:a", "aac", "-b:a", bitrate, "-aac_coder", coder, "-aac_pns", noise)
        label = f"{bitrate} {coder}{'' if noise == '1' else ', no PNS'}"
        found.append(Setting("aac", Shape(48_000, channels), label, aac))
    for level, depth in itertools.product((0, 5, 8, 12), (24, 16)):
        flac = (
            "-c:a",
            "flac",
            "-compression_level",
            str(level),
            "-sample_fmt",
            "s32" if depth == 24 else "s16",
        )
        found.append(Setting("flac", Shape(48_000, 2), f"level {level}, {depth} bits", flac))
    return found


SUFFIX = {"mp3": "mp3", "opus": "opus", "aac": "m4a", "flac": "flac"}


def run(*command: str | Path) -> bytes:
    """A command's output; its last words when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout


def ffmpeg(*arguments: str | Path) -> bytes:
    """FFmpeg, silent."""
    return run("ffmpeg", "-v", "error", "-nostdin", "-y", *arguments)


def make(clip: Clip, shape: Shape, root: Path, target: Path, seconds: int = SECONDS) -> None:
    """Write ``clip`` as float WAV, the samples a decoder would hand on."""
    files = [root / name for name in clip.files]
    if missing := [path for path in files if not path.is_file()]:
        sys.exit(f"{missing[0]} is not there; unpack below {root}: {PACKAGES}")
    if clip.voice:
        files = [target.with_suffix(".espeak.wav")]
        run("espeak-ng", "-v", clip.voice, "-s", "150", "-w", files[0], clip.text)
    form = f"aresample={shape.rate},aformat=channel_layouts={'mono' if shape.channels == 1 else 'stereo'}"
    graph = "".join(f"[{index}:a]{form}[a{index}];" for index in range(len(files)))
    graph += "".join(f"[a{index}]" for index in range(len(files))) + f"concat=n={len(files)}:v=0:a=1"
    if clip.noise:
        noise = (
            f"anoisesrc=colour=pink:seed=1:amplitude={clip.noise}:sample_rate={shape.rate}:duration={SECONDS}"
        )
        graph += f"[voice];{noise},{form}[fan];[voice][fan]amix=duration=first:normalize=0"
    inputs = [word for path in files for word in ("-i", path)]
    ffmpeg(
        *inputs,
        "-filter_complex",
        f"{graph},atrim={clip.start}:{clip.start + seconds},asetpts=N,volume=0.75",
        "-c:a",
        "pcm_f32le",
        target,
    )


def samples(path: Path, shape: Shape) -> Samples:
    """What ``path`` holds, decoded."""
    raw = ffmpeg("-i", path, "-f", "f32le", "-ar", str(shape.rate), "-ac", str(shape.channels), "-")
    return np.frombuffer(raw, dtype="<f4").reshape(-1, shape.channels).T


def aligned(reference: Samples, heard: Samples, subject: str) -> tuple[Samples, Samples]:
    """Both without the encoder's delay, and equally long."""
    cross = signal.correlate(heard.sum(axis=0), reference.sum(axis=0), method="fft")
    delay = int(np.argmax(cross)) - (reference.shape[1] - 1)
    if abs(delay) > 5_000:
        sys.exit(f"{subject}: a delay of {delay} samples cannot be the encoder's")
    reference, heard = reference[:, max(-delay, 0) :], heard[:, max(delay, 0) :]
    length = min(reference.shape[1], heard.shape[1])
    return reference[:, :length], heard[:, :length]


def resampled(sound: Samples, rate: int, wanted: int) -> Samples:
    """``sound`` at the rate that a measure wants."""
    if rate == wanted:
        return sound
    common = gcd(rate, wanted)
    return np.asarray(signal.resample_poly(sound, wanted // common, rate // common, axis=1), dtype=np.float32)


def listen(clip: Clip, shape: Shape, root: Path) -> list[Score]:
    """One clip in every setting of one shape."""
    from visqol import VisqolApi
    from zimtohrli import mos_from_signals  # type: ignore[import-untyped]

    visqol = VisqolApi()
    visqol.create(
        mode="speech" if clip.kind == "speech" else "audio", use_lattice_model=clip.kind == "speech"
    )
    visqol_rate = 16_000 if clip.kind == "speech" else 48_000
    found = []
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        source = Path(folder, "source.wav")
        make(clip, shape, root, source)
        original = samples(source, shape)
        for setting in settings():
            if setting.shape != shape or setting.codec == "flac":
                continue
            coded = Path(folder, f"coded.{SUFFIX[setting.codec]}")
            ffmpeg("-i", source, *setting.arguments, coded)
            pair = aligned(original, samples(coded, shape), f"{clip.name}, {setting.label}")
            for_zimtohrli = [resampled(sound, shape.rate, 48_000) for sound in pair]
            before, after = (resampled(sound, shape.rate, visqol_rate).mean(axis=0) for sound in pair)
            found.append(
                Score(
                    setting=name(setting),
                    clip=clip.name,
                    kind=clip.kind,
                    bytes=coded.stat().st_size,
                    zimtohrli=statistics.mean(
                        itertools.starmap(mos_from_signals, zip(*for_zimtohrli, strict=True))
                    ),
                    visqol=visqol.measure_from_arrays(before, after, visqol_rate).moslqo,
                )
            )
    return found


def name(setting: Setting) -> str:
    """``mp3 48 kHz stereo 128k level 5``."""
    channels = "mono" if setting.shape.channels == 1 else "stereo"
    return f"{setting.codec} {setting.shape.rate / 1000:g} kHz {channels} {setting.label}"


def cpu(root: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """CPU seconds for ten minutes, and kB/s, by setting: FFmpeg on all clips in a row, settings in turn."""
    times: dict[str, list[float]] = {}
    rate: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        sources: dict[Shape, tuple[Path, float]] = {}
        for shape in {setting.shape for setting in settings()}:
            pieces = []
            for index, clip in enumerate(CLIPS):
                pieces.append(Path(folder, f"{shape.rate}-{shape.channels}-{index}.wav"))
                make(clip, shape, root, pieces[-1], seconds=8)
            whole = Path(folder, f"{shape.rate}-{shape.channels}.wav")
            inputs = [word for path in pieces for word in ("-i", path)]
            ffmpeg(*inputs, "-filter_complex", f"concat=n={len(pieces)}:v=0:a=1", "-c:a", "pcm_f32le", whole)
            sources[shape] = whole, samples(whole, shape).shape[1] / shape.rate
        for turn in range(rounds):
            for setting in settings():
                source, seconds = sources[setting.shape]
                coded = Path(folder, f"coded.{SUFFIX[setting.codec]}")
                command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(source)]
                command += [*setting.arguments, str(coded)]
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
                _, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
                if child.returncode:
                    sys.exit(f"FFmpeg failed: {command}")
                times.setdefault(name(setting), []).append((used.ru_utime + used.ru_stime) * 600 / seconds)
                rate[name(setting)] = coded.stat().st_size / seconds / 1000
            print(f"CPU: {turn + 1} of {rounds}", file=sys.stderr)
    return {key: (statistics.median(values), rate[key]) for key, values in times.items()}


def table(scores: list[Score], times: dict[str, tuple[float, float]]) -> str:
    """All of it in Markdown: mean and worst clip."""
    lines = [
        "| setting | CPU s / 10 min | kB/s | speech Z | speech V | music Z | music V |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in map(name, settings()):
        seconds, rate = times.get(key, (float("nan"), float("nan")))
        cells = [key, f"{seconds:.1f}", f"{rate:.1f}"]
        for kind, measure in itertools.product(("speech", "music"), ("zimtohrli", "visqol")):
            found = [
                getattr(score, measure) for score in scores if score.setting == key and score.kind == kind
            ]
            cells.append(f"{statistics.mean(found):.2f} ({min(found):.2f})" if found else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Listen to everything, measure CPU, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the Debian packages are unpacked")
    parser.add_argument("--rounds", type=int, default=3, help="CPU measurements of each setting")
    parser.add_argument("--workers", type=int, default=2, help="processes that listen")
    parser.add_argument(
        "--only", choices=["sound", "cpu"], help="measure this, take the other from the last run"
    )
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    kept = ROOT / "benches/results/quality.json"
    last = json.loads(kept.read_text()) if options.only and kept.is_file() else {"scores": [], "cpu": {}}
    scores = [Score(**score) for score in last["scores"]]
    times: dict[str, tuple[float, float]] = last["cpu"]
    if options.only != "cpu":
        scores = []
        # The largest jobs first, so that no worker is left with one at the end.
        shapes = sorted(
            {setting.shape for setting in settings()}, key=lambda shape: (-shape.channels, -shape.rate)
        )
        with ProcessPoolExecutor(options.workers) as pool:
            jobs = [pool.submit(listen, clip, shape, options.root) for shape in shapes for clip in CLIPS]
            for number, job in enumerate(as_completed(jobs), 1):
                scores += job.result()
                keep(kept, scores, times)
                print(f"listened: {number} of {len(jobs)}", file=sys.stderr)
    if options.only != "sound":
        times = cpu(options.root, options.rounds)
        keep(kept, scores, times)
    print(table(scores, times))


def keep(target: Path, scores: list[Score], times: dict[str, tuple[float, float]]) -> None:
    """Write what is known so far."""
    target.write_text(json.dumps({"scores": [asdict(score) for score in scores], "cpu": times}, indent=1))


if __name__ == "__main__":
    main()
