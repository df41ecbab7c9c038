# Two agencies, so that the code does not get rights that only the platform needs. The platform uses one to
# configure the function's network card and report failures; the code signs in with the other.

resource "huaweicloud_identity_role" "platform" {
  name        = "${var.name}-platform"
  description = "Attach a function to a subnet and report failed calls"
  type        = "XA"

  policy = jsonencode({
    Version = "1.1"
    Statement = [{
      Effect = "Allow"
      Action = [
        "vpc:ports:create",
        "vpc:ports:get",
        "vpc:ports:delete",
        "vpc:subnets:get",
        "vpc:vpcs:get",
        "smn:topic:publish",
      ]
    }]
  })
}

resource "huaweicloud_identity_agency" "platform" {
  name                   = "${var.name}-platform"
  description            = "FunctionGraph: network card and failure reports"
  delegated_service_name = "op_svc_cff"

  project_role {
    project = local.iam_project_name
    roles   = [huaweicloud_identity_role.platform.name]
  }
}

resource "huaweicloud_identity_agency" "backup" {
  name                   = "${var.name}-code"
  description            = "The function's code: backups of this project"
  delegated_service_name = "op_svc_cff"

  project_role {
    project = local.iam_project_name
    roles   = var.backup_roles
  }
}
