"""What the API takes and gives, as types: of them answers, checks and ``/openapi.json`` are made."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StrictBool,
    model_validator,
)

from audio_extract.engine_types import Codec, Quality
from audio_extract.settings.audio_sections import Output, Preset, refuse_outputs
from audio_extract.tracker.states import State

#: A name in Drive has no limit that is written down; a search for more than this finds nothing anyway.
_LONGEST_TEXT = 1000
_MOST_IDS = 1000


def _no_other_kind(value: object) -> object:
    # 1.0 is an integer in JSON Schema; for pydantic `true` and "1" would be ones too, or 1.0 would not.
    if isinstance(value, bool | str):
        message = "Input should be a valid integer"
        raise ValueError(message)  # noqa: TRY004 - of this pydantic makes its own error
    return value


def _a_number(value: object) -> object:
    if isinstance(value, bool | str):
        message = "Input should be a valid number"
        raise ValueError(message)  # noqa: TRY004 - of this pydantic makes its own error
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the first or the last day of all, in another zone
        return moment.replace(tzinfo=UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Number = Annotated[int, BeforeValidator(_no_other_kind)]
Text = Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)]
Id = Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT, description="As lists show it.")]
Status = Literal["discovered", "pending", "in_progress", "completed", "failed", "quarantined", "skipped"]


class Query(BaseModel):
    """Parameters of a request's address; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Body(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """A JSON object of an answer: every key is always there."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class ListQuery(Query):
    """Which page of a list."""

    limit: int = Field(50, ge=1, le=1000, description="How many rows at most.")
    cursor: str | None = Field(
        None,
        pattern=r"^[0-9]{1,17}-[0-9]{1,18}$",
        description="Where the page before ended: of its Link header, rel=next.",
    )


class RecentQuery(ListQuery):
    """Which recordings."""

    days: int = Field(7, ge=1, le=36_500, description="Those that changed in the last days.")
    status: Status | None = Field(None, description="Only those in this state.")
    since: Moment | None = Field(
        None, description="Only those that changed then or later, in place of `days`; with a time zone."
    )
    until: Moment | None = Field(None, description="Only those that changed before it; with a time zone.")
    q: str = Field("", max_length=_LONGEST_TEXT, description="Only those whose name contains this.")


class HistoryQuery(Query):
    """Which days."""

    days: int = Field(30, ge=1, le=366, description="How many days, today included.")


class Recording(Answer):
    """One recording; null where a value is not known."""

    id: str
    name: str = Field(description="In the source.")
    status: Status
    state_reason: str | None
    file_path: str = Field(description="As the earlier service wrote it: `drive://ID`, or a path.")
    source: str
    source_id: str
    revision: str | None
    recorded_at: datetime | None
    discovered_at: datetime | None
    processed_at: datetime | None
    state_changed_at: datetime
    storage_type: str | None
    storage_path: str | None
    storage_url: str | None = Field(description="Leads through this server to the audio; does not expire.")
    storage_location: str | None = Field(description="Where the audio really is, without a signature.")
    object_name: str | None
    source_size_bytes: int | None
    fetched_bytes: int | None
    stored_size_bytes: int | None
    crc32c: str | None = Field(description="Base64 of the big-endian value.")
    generation: int | None
    plan_id: str | None
    audio_seconds: float | None
    elapsed_seconds: float | None
    strategy: str | None
    attempts: int
    crashes: int
    next_attempt_at: datetime | None
    error_code: str | None = Field(description="Stable; texts may change.")
    error_kind: str | None
    error_message: str | None
    reason: str | None = Field(description="Why it failed and what to do, for people.")
    ffmpeg_tail: str | None
    trace_id: str | None
    metadata: dict[str, Any] = Field(description="`file_name` is the name in the source.")


class Recordings(RootModel[list[Recording]]):
    """Recordings, newest first."""


class Attempt(Answer):
    """One transfer of a recording."""

    attempt: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None = Field(description="completed, failed, released or crashed; null while it runs.")
    adopted: bool
    revision: str | None
    strategy: str | None
    fetched_bytes: int | None
    stored_bytes: int | None
    audio_seconds: float | None
    error_code: str | None
    error_message: str | None
    trace_id: str | None


class Happened(Answer):
    """One entry of the audit log."""

    at: datetime
    event: str
    from_state: str | None
    to_state: str | None
    actor: str | None
    detail: dict[str, Any]


class Chunk(Answer):
    """One piece of a recording's audio."""

    index: int
    object_name: str
    start_seconds: float
    end_seconds: float
    size_bytes: int
    crc32c: str
    silence_cut: bool


class StoredBeside(Answer):
    """One more output of a recording, stored beside its audio."""

    name: str = Field(description="As `processing.outputs` or whoever asked for it calls it.")
    object_name: str
    size_bytes: int
    crc32c: str
    generation: int | None
    content_type: str | None
    audio_seconds: float | None
    chunks: list[Chunk]
    url: str = Field(description="Leads through this server to it; does not expire.")


class Companion(Answer):
    """What a meeting left beside its recording."""

    kind: Literal["transcript", "notes", "chat", "captions"]
    name: str = Field(description="In the source.")
    link: str | None = Field(description="Where a person can look at it.")


class RecordingDetails(Recording):
    """One recording with everything that happened to it, oldest first."""

    transfers: list[Attempt]
    audit: list[Happened]
    chunks: list[Chunk]
    outputs: list[StoredBeside]
    companions: list[Companion]


class Stats(Answer):
    """How much there is."""

    total: int
    completed: int
    failed: int = Field(description="Failed and quarantined.")
    pending: int = Field(description="Pending and discovered.")
    in_progress: int
    skipped: int
    audio_seconds: float = Field(description="Of the completed ones, as the next two.")
    source_bytes: int
    stored_bytes: int
    success_rate: float | None = Field(description="Of those that ended, 0 to 1; null while none has.")


class Day(Answer):
    """What ended on one day."""

    day: date
    completed: int = Field(description="Recordings that were stored.")
    failed: int = Field(description="Attempts that failed.")
    audio_seconds: float


class History(RootModel[list[Day]]):
    """Days, oldest first; every day is there."""


class Active(Answer):
    """One transfer that runs now."""

    id: str
    name: str
    stage: str
    fraction: float | None = Field(description="How much is done, 0 to 1; null while that is not known.")
    text: str = Field(description="The same for people, with speed and time left.")
    fetched_bytes: int
    source_size_bytes: int | None
    stored_bytes: int
    audio_seconds: float
    elapsed_seconds: float


class ActiveTransfers(RootModel[list[Active]]):
    """Transfers that run now, oldest first."""


class Component(Answer):
    """How one part of the service is."""

    status: Literal["healthy", "degraded", "unhealthy"]
    message: str = Field(description="What was seen.")
    meaning: str | None = Field(description="What no longer works; null while it is healthy.")
    remedy: str | None = Field(description="What to do; null where nothing is, or the message says it.")


class Health(Answer):
    """How the service is."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: datetime
    components: dict[str, Component]


class RefreshUrl(Body):
    """Whose link."""

    storage_path: Text = Field(description="Of a stored recording, as lists give it.")


class FreshUrl(Answer):
    """A link to audio: of a bucket, for whoever has it; of a folder, through this server and its sign-in."""

    url: str
    expires_at: datetime | None = Field(description="Null: it does not expire.")


class WantedCuts(Body):
    """How an output is cut into chunks: by length, by size, or by both."""

    duration_seconds: Annotated[float, BeforeValidator(_a_number), Field(ge=1, le=86_400)] | None = None
    max_size_mb: Annotated[float, BeforeValidator(_a_number), Field(ge=0.3, le=4_000)] | None = Field(
        None, description="Every chunk is smaller."
    )
    overlap_seconds: Annotated[float, BeforeValidator(_a_number), Field(ge=0, le=60)] | None = None
    at_silence: StrictBool | None = Field(None, description="Cut in the silence nearest to the place.")


class WantedOutput(Body):
    """One more output, as in `processing.outputs`: a preset, or what it is."""

    name: str | None = Field(
        None, pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", description="Absent: the preset's or codec's."
    )
    preset: Preset | None = None
    codec: Codec | None = None
    quality: Quality | None = None
    bitrate: str | None = Field(None, pattern=r"^[0-9]{1,8}k?$", description="Such as 128k.")
    sample_rate: Annotated[Number, Field(ge=8_000, le=192_000)] | None = Field(None, description="In Hz.")
    channels: Annotated[Number, Field(ge=1, le=8)] | None = None
    track: Annotated[Number, Field(ge=0, le=63)] | Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = (
        Field(None, description="A track's number from 0, or its language.")
    )
    normalize: Annotated[float, BeforeValidator(_a_number), Field(ge=-70, le=-5)] | None = Field(
        None, description="Loudness in LUFS."
    )
    chunks: WantedCuts | None = Field(None, description="Absent: it is one file.")

    @property
    def output(self) -> Output:
        """The same as the settings know it."""
        return Output.model_validate(self.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _possible(self) -> WantedOutput:
        _ = self.output
        return self


class _Again(Body):
    outputs: list[WantedOutput] | None = Field(
        None,
        max_length=7,
        description="What to store beside its audio too; audio that is stored stays as it is. Empty: nothing "
        "but what is configured.",
    )

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        refuse_outputs([one.output for one in self.outputs or ()])
        return self


class ById(_Again):
    """A recording by its id."""

    id: Id


class ByPath(_Again):
    """A recording by its `file_path`."""

    file_path: Text = Field(description="As lists give it, such as `drive://ID`.")


class Reprocess(RootModel[ById | ByPath]):
    """Which recording, by one of the two."""

    @property
    def name(self) -> str:
        """How it was named."""
        return self.root.id if isinstance(self.root, ById) else self.root.file_path

    @property
    def outputs(self) -> list[Output] | None:
        """What should stand beside its audio; None: as before."""
        return None if self.root.outputs is None else [one.output for one in self.root.outputs]


class ByIds(Body):
    """Recordings by their ids."""

    ids: list[Id] = Field(min_length=1, max_length=_MOST_IDS)


class AllFailed(Body):
    """All that failed or are quarantined."""

    failed: Literal[True]


class Retry(RootModel[ByIds | AllFailed]):
    """Which recordings, by one of the two."""


class CleanUp(Body):
    """How old details have to be."""

    days: Number = Field(ge=1, le=36_500, description="Older ones are deleted.")


class Due(Answer):
    """What is due now because of a request."""

    success: bool
    ids: list[str] = Field(description="Recordings that are due now.")
    count: int


class CleanedUp(Answer):
    """What was deleted."""

    success: bool
    deleted: int = Field(description="Details of old transfers and of looks at sources.")


class Problem(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def states_of(status: Status | None) -> list[State]:
    """Return the states a list is limited to."""
    return [] if status is None else [State(status)]
