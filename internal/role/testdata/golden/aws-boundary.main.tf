# Written by keyreeve org setup: change its flags and write it anew, rather than this file.
#
# The role that keyreeve assumes to remediate, in one account.

data "aws_partition" "current" {}

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

data "aws_iam_policy_document" "remediate" {
  statement {
    sid    = "KeyreeveRemediate"
    effect = "Allow"
    actions = [
      "iam:DeleteAccessKey",
      "iam:GetUser",
      "iam:UpdateAccessKey",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "remediate" {
  name                 = var.remediate_role_name
  path                 = var.role_path
  description          = "keyreeve deactivates and deletes access keys, and looks before and after"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = var.max_session_duration
  permissions_boundary = "arn:${data.aws_partition.current.partition}:iam::aws:policy/job-function/Limits"
  tags                 = merge(var.tags, { keyreeve = "remediate" })
}

resource "aws_iam_role_policy" "remediate" {
  name   = "keyreeve-remediate"
  role   = aws_iam_role.remediate.id
  policy = data.aws_iam_policy_document.remediate.json
}
