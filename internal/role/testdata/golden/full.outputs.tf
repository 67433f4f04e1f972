# Written by keyreeve org setup.

output "audit_role_arn" {
  description = "The role by which keyreeve reads users and their access keys, and changes nothing."
  value       = aws_iam_role.audit.arn
}

output "remediate_role_arn" {
  description = "The role by which keyreeve deactivates and deletes access keys, and looks before and after."
  value       = aws_iam_role.remediate.arn
}

output "rotate_role_arn" {
  description = "The role by which keyreeve makes, deactivates and deletes access keys, and looks before and after."
  value       = aws_iam_role.rotate.arn
}
