# Written by keyreeve org setup.

output "remediate_role_arn" {
  description = "The role by which keyreeve deactivates and deletes access keys, and looks before and after."
  value       = aws_iam_role.remediate.arn
}
