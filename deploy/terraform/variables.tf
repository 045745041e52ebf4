variable "project" {
  description = "The project's id."
  type        = string
}

variable "environment" {
  description = "staging or prod."
  type        = string

  validation {
    condition     = contains(["staging", "prod"], var.environment)
    error_message = "Write staging or prod."
  }
}

variable "bucket" {
  description = "Name of the bucket for audio. Names are worldwide."
  type        = string
}

variable "region" {
  description = "Where the bucket is: close to where the service runs."
  type        = string
  default     = "europe-west1"
}

variable "archive_after_days" {
  description = "Audio that nobody changed for so many days goes to cheaper storage; 0: never."
  type        = number
  default     = 90
}

variable "delete_after_days" {
  description = "Audio of so many days is deleted; 0: never."
  type        = number
  default     = 0
}

variable "kubernetes_namespace" {
  description = "The namespace whose pods stand for the account by Workload Identity; empty: none do."
  type        = string
  default     = ""
}

variable "github_repository" {
  description = "OWNER/NAME of the repository whose workflows deploy; empty: none do."
  type        = string
  default     = ""
}
