# Written by keyreeve org setup.

variable "trusted_principal" {
  description = "Who may assume the roles: the twelve digits of an account or the ARN of a role."
  type        = string
  default     = "arn:aws-cn:iam::111122223333:role/ops/keyreeve"

  validation {
    condition     = can(regex("^([0-9]{12}|arn:aws[a-z-]*:iam::[0-9]{12}:role/[\\w+=,.@/-]+)$", var.trusted_principal))
    error_message = "Neither the twelve digits of an account nor the ARN of a role."
  }
}

variable "external_id" {
  description = "What whoever assumes a role must name."
  type        = string
  default     = "keyreeve-4a7c"

  validation {
    condition     = can(regex("^[\\w+=,.@:/-]{2,}$", var.external_id)) && length(var.external_id) <= 1224
    error_message = "An external id has 2 to 1224 letters, digits and +=,.@:/-_."
  }
}

variable "organization_id" {
  description = "The organisation that whoever assumes a role must belong to."
  type        = string
  default     = "o-a1b2c3d4e5"

  validation {
    condition     = can(regex("^o-[a-z0-9]{10,32}$", var.organization_id))
    error_message = "An organisation has an id such as o-a1b2c3d4e5."
  }
}

variable "audit_role_name" {
  description = "The name of the role by which keyreeve reads users and their access keys, and changes nothing."
  type        = string
  default     = "sec-audit"
}

variable "remediate_role_name" {
  description = "The name of the role by which keyreeve deactivates and deletes access keys, and looks before and after."
  type        = string
  default     = "sec-remediate"
}

variable "rotate_role_name" {
  description = "The name of the role by which keyreeve makes, deactivates and deletes access keys, and looks before and after."
  type        = string
  default     = "sec-rotate"
}

variable "role_path" {
  description = "The path of the roles; it begins and ends with a slash."
  type        = string
  default     = "/security/"
}

variable "max_session_duration" {
  description = "How long a session may last, in seconds; where one role assumes another, AWS allows 3600."
  type        = number
  default     = 7200
}

variable "tags" {
  description = "Tags of the roles, beside the tag keyreeve."
  type        = map(string)
  default     = {}
}
