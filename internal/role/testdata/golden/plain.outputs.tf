# Written by keyreeve org setup.

output "audit_role_arn" {
  description = "The role by which keyreeve reads users and their access keys, and changes nothing."
  value       = aws_iam_role.audit.arn
}
