# Written by keyreeve org setup: change its flags and write it anew, rather than this file.
#
# The roles that keyreeve assumes to audit, remediate and rotate, in one account.

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "KeyreeveTrust"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = [var.trusted_principal]
    }

    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = [var.external_id]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalOrgID"
      values   = [var.organization_id]
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
  permissions_boundary = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:policy/limits/Keyreeve"
  tags                 = merge(var.tags, { keyreeve = "audit" })
}

resource "aws_iam_role_policy" "audit" {
  name   = "keyreeve-audit"
  role   = aws_iam_role.audit.id
  policy = data.aws_iam_policy_document.audit.json
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

  statement {
    sid    = "KeyreeveProtect1"
    effect = "Deny"
    actions = [
      "iam:DeleteAccessKey",
      "iam:UpdateAccessKey",
    ]
    resources = ["arn:${data.aws_partition.current.partition}:iam::*:user/break-glass/*"]
  }

  statement {
    sid    = "KeyreeveProtect2"
    effect = "Deny"
    actions = [
      "iam:DeleteAccessKey",
      "iam:UpdateAccessKey",
    ]
    resources = ["arn:${data.aws_partition.current.partition}:iam::*:user/vendor/x/*"]
  }
}

resource "aws_iam_role" "remediate" {
  name                 = var.remediate_role_name
  path                 = var.role_path
  description          = "keyreeve deactivates and deletes access keys, and looks before and after"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = var.max_session_duration
  permissions_boundary = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:policy/limits/Keyreeve"
  tags                 = merge(var.tags, { keyreeve = "remediate" })
}

resource "aws_iam_role_policy" "remediate" {
  name   = "keyreeve-remediate"
  role   = aws_iam_role.remediate.id
  policy = data.aws_iam_policy_document.remediate.json
}

data "aws_iam_policy_document" "rotate" {
  statement {
    sid    = "KeyreeveRotate"
    effect = "Allow"
    actions = [
      "iam:CreateAccessKey",
      "iam:GetUser",
    ]
    resources = ["*"]
  }

  statement {
    sid    = "KeyreeveSecret1"
    effect = "Allow"
    actions = [
      "secretsmanager:PutSecretValue",
    ]
    resources = ["arn:${data.aws_partition.current.partition}:secretsmanager:eu-west-1:*:secret:prod/*-??????"]
  }

  statement {
    sid    = "KeyreeveParameter2"
    effect = "Allow"
    actions = [
      "ssm:PutParameter",
    ]
    resources = ["arn:${data.aws_partition.current.partition}:ssm:*:*:parameter/prod/*"]
  }

  statement {
    sid    = "KeyreeveAssume3"
    effect = "Allow"
    actions = [
      "sts:AssumeRole",
    ]
    resources = ["arn:aws:iam::444455556666:role/writer"]
  }

  statement {
    sid    = "KeyreeveProtect1"
    effect = "Deny"
    actions = [
      "iam:CreateAccessKey",
    ]
    resources = ["arn:${data.aws_partition.current.partition}:iam::*:user/break-glass/*"]
  }

  statement {
    sid    = "KeyreeveProtect2"
    effect = "Deny"
    actions = [
      "iam:CreateAccessKey",
    ]
    resources = ["arn:${data.aws_partition.current.partition}:iam::*:user/vendor/x/*"]
  }
}

resource "aws_iam_role" "rotate" {
  name                 = var.rotate_role_name
  path                 = var.role_path
  description          = "keyreeve makes, deactivates and deletes access keys, and looks before and after"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = var.max_session_duration
  permissions_boundary = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:policy/limits/Keyreeve"
  tags                 = merge(var.tags, { keyreeve = "rotate" })
}

resource "aws_iam_role_policy" "rotate" {
  name   = "keyreeve-rotate"
  role   = aws_iam_role.rotate.id
  policy = data.aws_iam_policy_document.rotate.json
}
