# The function's settings, by their names in handler/README.md.

locals {
  settings = merge(var.extra_settings, {
    LOG_FORMAT        = "json"
    QUEUE_TYPE        = var.queue_type
    RESULT_EXCHANGE   = var.result_exchange
    SNAPSHOT_EXCHANGE = var.snapshot_exchange
    SNAPSHOT_QUEUE    = var.snapshot_queue
    VBS_AUTH          = "agency"
    VBS_ENDPOINT      = var.vbs_endpoint
    VBS_PROJECT_ID    = var.project_id
  }, var.broker_ca_file == "" ? {} : { AMQP_CA_FILE = var.broker_ca_file })

  # Settings that name queues and exchanges. topology declare must have the function's, or it makes other queues.
  topology_names = [
    "QUEUE_TYPE", "RESULT_EXCHANGE", "SNAPSHOT_BINDINGS", "SNAPSHOT_EXCHANGE", "SNAPSHOT_QUEUE", "WAIT_LADDER",
  ]
  topology_settings = join("\n", [
    for name in local.topology_names : "${name}=${local.settings[name]}" if contains(keys(local.settings), name)
  ])

  secret_settings = {
    AMQP_URL   = local.amqp_url
    LEDGER_URL = var.ledger_url
    STATE_KEYS = local.state_keys
  }

  # A ledger of none keeps no key, so Terraform makes one, which all instances share.
  state_keys = var.state_keys == "" ? random_password.state_key.result : var.state_keys

  broker_port = var.broker_tls ? 5671 : 5672

  # A cluster may give several addresses; the worker and the function try them in turn.
  amqp_url = join(",", [
    for address in split(",", huaweicloud_dms_rabbitmq_instance.this.connect_address) : format(
      "%s://%s:%s@%s:%d/%s",
      var.broker_tls ? "amqps" : "amqp",
      urlencode(var.broker_user),
      urlencode(var.broker_password),
      trimspace(address),
      local.broker_port,
      urlencode(var.broker_vhost),
    )
  ])

  iam_project_name = var.iam_project_name == "" ? var.region : var.iam_project_name
}
