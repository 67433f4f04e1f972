# Written by keyreeve org setup.

variable "trusted_principal" {
  description = "Who may assume the roles: the twelve digits of an account or the ARN of a role."
  type        = string
  default     = "111122223333"

  validation {
    condition     = can(regex("^([0-9]{12}|arn:aws[a-z-]*:iam::[0-9]{12}:role/[\\w+=,.@/-]+)$", var.trusted_principal))
    error_message = "Neither the twelve digits of an account nor the ARN of a role."
  }
}

variable "remediate_role_name" {
  description = "The name of the role by which keyreeve deactivates and deletes access keys, and looks before and after."
  type        = string
  default     = "keyreeve-remediate"
}

variable "role_path" {
  description = "The path of the roles; it begins and ends with a slash."
  type        = string
  default     = "/"
}

variable "max_session_duration" {
  description = "How long a session may last, in seconds; where one role assumes another, AWS allows 3600."
  type        = number
  default     = 3600
}

variable "tags" {
  description = "Tags of the roles, beside the tag keyreeve."
  type        = map(string)
  default     = {}
}
