# --- where -----------------------------------------------------------------------------------

variable "region" {
  description = "Region of all resources."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]+$", var.region))
    error_message = "region must look like ap-southeast-3."
  }
}

variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "snapshot-backup"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 32 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen."
  }
}

variable "project_id" {
  description = "Project whose snapshots are backed up: the {project_id} of the API's paths."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{32}$", var.project_id))
    error_message = "project_id must be 32 hexadecimal digits."
  }
}

variable "iam_project_name" {
  description = "Name of that project in IAM. If empty, the region's own project is used, which has the region's name."
  type        = string
  default     = ""
}

variable "availability_zones" {
  description = "Availability zones of the broker: one, or at least three, so that a quorum survives the loss of one."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) == 1 || length(var.availability_zones) >= 3
    error_message = "availability_zones must have one zone or at least three, because the service does not spread a cluster over two."
  }
}

# --- network ---------------------------------------------------------------------------------

variable "vpc_cidr" {
  description = "Address range of the VPC."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0))
    error_message = "vpc_cidr must be an address range such as 10.40.0.0/16."
  }
}

variable "subnet_cidr" {
  description = "Address range of the subnet that the broker and the function share."
  type        = string
  default     = "10.40.1.0/24"

  validation {
    condition     = can(cidrhost(var.subnet_cidr, 0))
    error_message = "subnet_cidr must be an address range such as 10.40.1.0/24."
  }
}

variable "operator_cidrs" {
  description = "Ranges from which operators reach the broker, for example a VPN: topology declare, dead-letters and doctor run there."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.operator_cidrs : can(cidrhost(cidr, 0)) && cidr != "0.0.0.0/0"])
    error_message = "operator_cidrs must be address ranges, and not the whole internet."
  }
}

variable "nat_enabled" {
  description = "Create a NAT gateway with a public address. A function in a VPC has no public network, so set this to false only if the VPC reaches the backup API and IAM in another way."
  type        = bool
  default     = true
}

variable "nat_bandwidth" {
  description = "Bandwidth of the public address, Mbit/s. The function sends small requests only."
  type        = number
  default     = 5

  validation {
    condition     = var.nat_bandwidth >= 1 && var.nat_bandwidth <= 300
    error_message = "nat_bandwidth must lie between 1 and 300."
  }
}

# --- broker ----------------------------------------------------------------------------------

variable "broker_flavor_id" {
  description = "Flavor of the RabbitMQ instance; which ones exist differs by region."
  type        = string
}

variable "broker_engine_version" {
  description = "RabbitMQ version. Before 3.10 it needs queue_type = \"classic\". The service's own engine AMQP-0-9-1 has neither quorum queues nor TLS and is refused."
  type        = string
  default     = "3.12.13"

  validation {
    condition     = can(regex("^3\\.(8|9|1[0-9])\\.[0-9]+$", var.broker_engine_version))
    error_message = "broker_engine_version must be RabbitMQ 3.8 or later, such as 3.12.13."
  }
}

variable "queue_type" {
  description = "QUEUE_TYPE of the program: quorum, or classic where the region offers no RabbitMQ from 3.10 on. Classic queues can lose waiting messages when the broker crashes."
  type        = string
  default     = "quorum"

  validation {
    condition     = contains(["quorum", "classic"], var.queue_type)
    error_message = "queue_type must be quorum or classic."
  }

  validation {
    condition     = var.queue_type == "classic" || !can(regex("^3\\.[89]\\.", var.broker_engine_version))
    error_message = "Quorum queues with a message TTL and at-least-once dead-lettering exist from RabbitMQ 3.10 on: set queue_type = \"classic\" for 3.8 and 3.9, or a later broker_engine_version."
  }
}

variable "broker_nodes" {
  description = "Nodes of the broker: 3, 5 or 7, an odd number so that a majority is always defined."
  type        = number
  default     = 3

  validation {
    condition     = contains([3, 5, 7], var.broker_nodes)
    error_message = "broker_nodes must be 3, 5 or 7: quorum queues on one node do not survive the loss of that node."
  }
}

variable "broker_storage_gb" {
  description = "Storage of all nodes together, GB. It can grow later, never shrink."
  type        = number
  default     = 300

  validation {
    condition     = var.broker_storage_gb >= 100 * var.broker_nodes
    error_message = "broker_storage_gb must be at least 100 for each node."
  }
}

variable "broker_storage_spec" {
  description = "Storage class of the broker's disks."
  type        = string
  default     = "dms.physical.storage.high.v2"

  validation {
    condition     = can(regex("^dms\\.physical\\.storage\\.(high|ultra)\\.v2$", var.broker_storage_spec))
    error_message = "broker_storage_spec must be dms.physical.storage.high.v2 or dms.physical.storage.ultra.v2."
  }
}

variable "broker_tls" {
  description = "Encrypt connections to the broker. A change replaces the broker, so empty the queues first."
  type        = bool
  default     = true
}

variable "broker_ca_file" {
  description = "Path of the certificate authority that signed the broker's certificate, as the function sees it: /opt/function/code/ca.pem after package --add ca.pem. If empty, the system's authorities are trusted."
  type        = string
  default     = ""
}

variable "broker_vhost" {
  description = "Virtual host of this application."
  type        = string
  default     = "snapshot-backup"

  validation {
    # The provider writes a slash as __F_SLASH__ in some places only, so slashes are refused.
    condition     = can(regex("^[A-Za-z0-9_-]+$", var.broker_vhost))
    error_message = "broker_vhost must consist of letters, digits, underscores and hyphens, such as snapshot-backup."
  }
}

variable "broker_user" {
  description = "User of the broker."
  type        = string
  default     = "snapshot_backup"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9_-]{3,63}$", var.broker_user))
    error_message = "broker_user must be 4 to 64 letters, digits, underscores and hyphens, starting with a letter."
  }
}

variable "broker_password" {
  description = "Password of that user. Set it by the environment variable TF_VAR_broker_password."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[^\\s]{8,32}$", var.broker_password))
    error_message = "broker_password must be 8 to 32 characters without spaces."
  }
}

# --- names on the broker ---------------------------------------------------------------------

variable "snapshot_exchange" {
  description = "SNAPSHOT_EXCHANGE: the topic exchange that producers publish to."
  type        = string
  default     = "snapshots"
}

variable "snapshot_queue" {
  description = "SNAPSHOT_QUEUE: the queue, and the fanout exchange of the same name that the trigger uses."
  type        = string
  default     = "snapshot-backup"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+$", var.snapshot_queue))
    error_message = "snapshot_queue must consist of letters, digits, dots, underscores and hyphens, such as snapshot-backup."
  }
}

variable "result_exchange" {
  description = "RESULT_EXCHANGE: the topic exchange that outcomes are published to."
  type        = string
  default     = "backups"
}

# --- function --------------------------------------------------------------------------------

variable "package_file" {
  description = "The function's package, made by: snapshot-backup package --out FILE.zip"
  type        = string

  validation {
    condition     = endswith(var.package_file, ".zip")
    error_message = "package_file must be a ZIP file."
  }
}

variable "function_memory_mb" {
  description = "Memory of the function, MB. Its share of a CPU grows with it."
  type        = number
  default     = 256

  validation {
    condition     = contains([128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048], var.function_memory_mb)
    error_message = "function_memory_mb must be one of the sizes that the platform offers: 128, 256, 512, 768, 1024 and so on up to 2048."
  }
}

variable "function_timeout" {
  description = "Longest run for one batch, seconds. It must be long enough for a request that hangs until VBS_TIMEOUT (30 s) and for delaying unfinished messages afterwards. The service's default of 3 s is too short to sign in."
  type        = number
  default     = 120

  validation {
    condition     = var.function_timeout >= 60 && var.function_timeout <= 900
    error_message = "function_timeout must lie between 60 and 900 seconds."
  }
}

variable "function_instances" {
  description = "Largest number of instances at once. It bounds the load on the API, not on the queue: the platform discards calls beyond the account's concurrency."
  type        = number
  default     = 50

  validation {
    condition     = var.function_instances >= 1 && var.function_instances <= 400
    error_message = "function_instances must lie between 1 and 400."
  }
}

variable "vbs_endpoint" {
  description = "VBS_ENDPOINT: scheme and host of the backup API, perhaps with a path before the version."
  type        = string

  validation {
    condition     = can(regex("^https://[^/?#]+(/[A-Za-z0-9._~-]+)*$", var.vbs_endpoint)) && !can(regex("/v[0-9]", var.vbs_endpoint))
    error_message = "vbs_endpoint must be https:// and a host, perhaps with a path, without version and project."
  }
}

variable "ledger_url" {
  description = "LEDGER_URL: a PostgreSQL that all instances share, reachable from the subnet, or none. A function's own disk is not shared, so SQLite is refused. Set it by the environment variable TF_VAR_ledger_url."
  type        = string
  sensitive   = true

  validation {
    condition     = var.ledger_url == "none" || startswith(var.ledger_url, "postgresql://")
    error_message = "ledger_url must start with postgresql://, or be none."
  }

  validation {
    condition     = var.ledger_url == "none" || can(regex("[?&]sslmode=verify-full(&|$)", var.ledger_url))
    error_message = "ledger_url must verify the server: add ?sslmode=verify-full&sslrootcert=/opt/function/code/ledger-ca.pem, a file that the package has by --add."
  }
}

variable "state_keys" {
  description = "STATE_KEYS: what authenticates waiting messages, the newest first, separated by commas. Empty: a key that Terraform makes. To rotate, give a new key and the present one (output state_keys), and later the new one alone. Give it as TF_VAR_state_keys."
  type        = string
  sensitive   = true
  default     = ""

  validation {
    condition     = var.state_keys == "" || alltrue([for key in split(",", var.state_keys) : length(trimspace(key)) >= 16])
    error_message = "Each key of state_keys needs at least 16 characters, such as the output of openssl rand -hex 32."
  }
}

variable "extra_settings" {
  description = "More settings of the function, by their names. Secrets and settings that other variables set are refused."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([for name in keys(var.extra_settings) : contains([
      "SNAPSHOT_BINDINGS", "RESULT_UNROUTABLE", "VBS_API_VERSION", "EVS_ENDPOINT", "VBS_ALLOWED_PROJECTS",
      "VBS_TIMEOUT", "VBS_CA_FILE", "CONCURRENCY", "WAIT_LADDER", "MAX_ATTEMPTS", "MAX_AGE", "TRACK_BACKUPS",
      "TRACK_DEADLINE", "LEDGER_RETENTION", "LEASE_SECONDS", "SKIP_SNAPSHOTS", "MAX_BODY_BYTES", "LOG_LEVEL",
    ], name)])
    error_message = "extra_settings may have only settings that are not secret and that no other variable sets, such as LOG_LEVEL; variables.tf lists them."
  }
}

# --- trigger ---------------------------------------------------------------------------------

variable "trigger_enabled" {
  description = "Create the trigger. Set this to true only after snapshot-backup topology declare: without a queue the fanout exchange drops every message."
  type        = bool
  default     = false
}

variable "batch_size" {
  description = "Largest number of messages in one call of the function."
  type        = number
  default     = 10

  validation {
    condition     = var.batch_size >= 1 && var.batch_size <= 1000 && floor(var.batch_size) == var.batch_size
    error_message = "batch_size must be a whole number between 1 and 1000."
  }

  validation {
    # The trigger calls asynchronously, and an asynchronous request has at most 256 KB.
    condition     = var.batch_size * var.max_message_bytes < 256 * 1024
    error_message = "batch_size times max_message_bytes must stay under 262144 bytes."
  }
}

variable "max_message_bytes" {
  description = "Size of the largest message, bytes. A message that returns from a wait queue contains its original in base64, so this is about 4/3 of the largest event plus its state."
  type        = number
  default     = 24576

  validation {
    condition     = var.max_message_bytes >= 1024
    error_message = "max_message_bytes must be at least 1024."
  }
}

# --- operations ------------------------------------------------------------------------------

variable "log_days" {
  description = "Days that the function's logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = var.log_days >= 1 && var.log_days <= 365
    error_message = "log_days must lie between 1 and 365."
  }
}

variable "alarm_emails" {
  description = "Mail addresses that receive alarms; each must confirm the subscription mail."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "alarm_emails must be mail addresses."
  }
}

variable "backlog_alarm" {
  description = "Messages ready on the whole broker, waiting and dead ones included, above which an alarm is raised."
  type        = number
  default     = 1000

  validation {
    condition     = var.backlog_alarm >= 1
    error_message = "backlog_alarm must be at least 1."
  }
}

variable "backup_roles" {
  description = "Roles of the function's code. VBS Administrator is the system role for backups and depends on others; whether it needs both of these was not tried on an account, so try fewer."
  type        = list(string)
  default     = ["VBS Administrator", "Server Administrator", "Tenant Guest"]

  validation {
    condition     = length(var.backup_roles) > 0 && !contains(var.backup_roles, "Tenant Administrator")
    error_message = "backup_roles must not be empty, and must not include Tenant Administrator, which has all rights."
  }
}

variable "tags" {
  description = "Tags of every resource that supports tags."
  type        = map(string)
  default     = {}
}
