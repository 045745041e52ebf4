resource "google_service_account" "service" {
  account_id   = local.name
  display_name = "audio-extract (${var.environment})"
  description  = "Reads recordings in Drive, writes audio into one bucket."
}

# What the service does in the bucket: make, read, list and replace objects (logs of transfers are replaced), and look
# whether the bucket is there. Nothing in other buckets.
resource "google_storage_bucket_iam_member" "objects" {
  bucket = google_storage_bucket.audio.name
  role   = "roles/storage.objectUser"
  member = google_service_account.service.member
}

resource "google_project_iam_custom_role" "looks_at_bucket" {
  role_id     = "audioExtractBucket_${var.environment}"
  title       = "audio-extract: looks at its bucket (${var.environment})"
  permissions = ["storage.buckets.get"]
}

resource "google_storage_bucket_iam_member" "bucket" {
  bucket = google_storage_bucket.audio.name
  role   = google_project_iam_custom_role.looks_at_bucket.name
  member = google_service_account.service.member
}

# Signs links to audio as itself, without a key (IAM signBlob).
resource "google_service_account_iam_member" "signs" {
  service_account_id = google_service_account.service.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.service.member
}

# Pods of the cluster stand for the account; there is no key.
resource "google_service_account_iam_member" "pods" {
  count = var.kubernetes_namespace == "" ? 0 : 1

  service_account_id = google_service_account.service.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${var.kubernetes_namespace}/audio-extract]"
}

# Who brings new versions: workflows of one repository, in one environment, by GitHub's word.
resource "google_service_account" "deploy" {
  count = var.github_repository == "" ? 0 : 1

  account_id   = "${local.name}-deploy"
  display_name = "audio-extract roll-outs (${var.environment})"
}

resource "google_project_iam_member" "deploy" {
  count = var.github_repository == "" ? 0 : 1

  project = var.project
  role    = "roles/container.developer"
  member  = google_service_account.deploy[0].member
}

resource "google_iam_workload_identity_pool" "github" {
  count = var.github_repository == "" ? 0 : 1

  workload_identity_pool_id = "github-${var.environment}"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count = var.github_repository == "" ? 0 : 1

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }
  attribute_condition = "assertion.repository == '${var.github_repository}'"

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "workflows" {
  count = var.github_repository == "" ? 0 : 1

  service_account_id = google_service_account.deploy[0].name
  role               = "roles/iam.workloadIdentityUser"
  member = format(
    "principal://iam.googleapis.com/%s/subject/repo:%s:environment:%s",
    google_iam_workload_identity_pool.github[0].name,
    var.github_repository,
    var.environment == "prod" ? "production" : var.environment,
  )
}
