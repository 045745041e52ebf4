# What one environment needs of Google Cloud: a bucket, an account that may do what the service does and nothing else, and
# one that brings new versions. Once for staging, once for production:
#
#   terraform init
#   terraform apply -var project=my-project -var environment=prod -var bucket=my-audio-prod
#
# The Drive folder is shared with the account by hand (output drive_reader), as Viewer.

terraform {
  required_version = ">= 1.6"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0, < 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  name   = "audio-extract-${var.environment}"
  labels = { app = "audio-extract", environment = var.environment }
}

resource "google_project_service" "needed" {
  for_each = toset(["drive.googleapis.com", "iamcredentials.googleapis.com", "storage.googleapis.com"])

  service            = each.value
  disable_on_destroy = false
}
