output "drive_reader" {
  description = "Share the Drive folder with this address, as Viewer."
  value       = google_service_account.service.email
}

output "bucket" {
  description = "For storage.gcs.bucket_name."
  value       = google_storage_bucket.audio.name
}

output "workload_identity_provider" {
  description = "For the variable GCP_WORKLOAD_IDENTITY_PROVIDER of the repository's environment."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}

output "deploy_account" {
  description = "For the variable GCP_DEPLOY_ACCOUNT of the repository's environment."
  value       = one(google_service_account.deploy[*].email)
}
