# Written by keyreeve org setup: change its flags and write it anew, rather than this file.
#
# The role that keyreeve assumes to audit, in one account.

data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "KeyreeveTrust"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = [var.trusted_principal]
    }
  }
}

data "aws_iam_policy_document" "audit" {
  statement {
    sid    = "KeyreeveAudit"
    effect = "Allow"
    actions = [
      "iam:GetCredentialReport",
      "iam:ListUsers",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "audit" {
  name                 = var.audit_role_name
  path                 = var.role_path
  description          = "keyreeve reads users and their access keys, and changes nothing"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = var.max_session_duration
  tags                 = merge(var.tags, { keyreeve = "audit" })
}

resource "aws_iam_role_policy" "audit" {
  name   = "keyreeve-audit"
  role   = aws_iam_role.audit.id
  policy = data.aws_iam_policy_document.audit.json
}
