terraform {
  # 1.9 is the first release in which a variable's validation may use another variable.
  required_version = ">= 1.9.0, < 2.0.0"

  required_providers {
    huaweicloud = {
      source = "huaweicloud/huaweicloud"
      # The arguments used here were checked against the documentation of 1.97.1.
      version = ">= 1.97.1, < 2.0.0"
    }
    # The key that authenticates waiting messages.
    random = {
      source  = "hashicorp/random"
      version = ">= 3.6.0, < 4.0.0"
    }
  }
}

provider "huaweicloud" {
  # Credentials come from HW_ACCESS_KEY and HW_SECRET_KEY, never from a file of this folder.
  region = var.region
}
