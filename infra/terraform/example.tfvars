# Values of a first deployment; names of flavors and zones differ by region.
# Secrets do not belong into this file: export TF_VAR_broker_password and TF_VAR_ledger_url.

region             = "ap-southeast-3"
project_id         = "0123456789abcdef0123456789abcdef"
availability_zones = ["ap-southeast-3a", "ap-southeast-3b", "ap-southeast-3c"]

broker_flavor_id = "c6.2u4g.cluster"
operator_cidrs   = ["10.200.0.0/24"]

vbs_endpoint = "https://vbs.ap-southeast-3.myhuaweicloud.com"
package_file = "snapshot-backup.zip"

alarm_emails = ["storage@example.com"]

# Step 4 of the README, after topology declare:
# trigger_enabled = true
